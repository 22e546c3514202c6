"""Pooled output distillation of PLOP (CVPR 2021): local POD and its variants (ciss_methods.md 4.9.1, 4.12)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.runtime.precision import widened

Pooling = Literal["local", "spatial", "global"]
Fold = Literal["sum", "trim"]
Cut = Literal["sides", "width"]
SCALES = (1, 2, 4)


def pod_embedding(
    features: Tensor, scales: Sequence[int] = SCALES, pooling: Pooling = "local", cut: Cut = "sides"
) -> Tensor:
    """Return the embedding Phi (B, E) of a map (B, C, H, W), not normalised; POD squares its maps beforehand.

    `local` cuts the map into s x s cells per scale s, dropping left-over rows and columns, and keeps each
    cell's mean over columns, then over rows: E = 2 C (k_1 + 4 k_2 + 16 k_4) with k_s = W // s on square maps.
    `spatial` sums the whole map over columns and over rows; `global` does so after average pooling with
    kernel W // s per scale. Scales finer than the map give nothing. `cut`, on maps that are not square: `sides` cuts
    rows by the height and columns by the width; `width` cuts both by the width, as released, so that a higher map
    loses its lower rows and a lower one lacks cells. Raises ValueError for another pooling or cut, and where a cell
    would have no row.

    Source: PLOP (CVPR 2021), Phi; ciss_methods.md 4.9.1, variants 4.12.
    """
    features = widened(features)
    if pooling == "spatial":
        return _profiles(features)
    height, width = features.shape[-2:]
    usable = [s for s in scales if min(height, width) >= s]
    if pooling == "global":
        return torch.cat([_profiles(F.avg_pool2d(features, (height // s, width // s))) for s in usable], dim=1)
    if pooling != "local":
        raise ValueError(f"unknown POD pooling `{pooling}`, expected local, spatial or global")
    if cut not in ("sides", "width"):
        raise ValueError(f"unknown POD cut `{cut}`, expected sides or width")
    if cut == "width" and height != width:
        return torch.cat([_square_cells(features, s) for s in scales if width >= s], dim=1)
    return torch.cat([_cells(features, s) for s in usable], dim=1)


def _profiles(x: Tensor) -> Tensor:
    return torch.cat([x.sum(dim=3).flatten(1), x.sum(dim=2).flatten(1)], dim=1)


def _cells(x: Tensor, scale: int) -> Tensor:
    # Order of the reference: cells row by row; in a cell all channels' row profiles, then column profiles.
    batch, channels, height, width = x.shape
    k_rows, k_columns = height // scale, width // scale
    x = x[..., : scale * k_rows, : scale * k_columns]
    cells = x.reshape(batch, channels, scale, k_rows, scale, k_columns).permute(0, 2, 4, 1, 3, 5)
    return torch.cat([cells.mean(dim=5).flatten(3), cells.mean(dim=4).flatten(3)], dim=3).flatten(1)


def _square_cells(x: Tensor, scale: int) -> Tensor:
    """Return the cells of side width // scale; the lowest may be cut short, none may be empty."""
    height, width = x.shape[-2:]
    side = width // scale
    if (scale - 1) * side >= height:
        raise ValueError(
            f"POD cut by the width: the map is {width} wide and {height} high, so that the lowest of {scale} rows of "
            f"cells {side} high are empty; use cut `sides`, or images that are not so flat"
        )
    cells = []
    for top in range(0, scale * side, side):
        for left in range(0, scale * side, side):
            cell = x[..., top : top + side, left : left + side]
            cells += [cell.mean(dim=3).flatten(1), cell.mean(dim=2).flatten(1)]
    return torch.cat(cells, dim=1)


def fold_new_channels(logits: Tensor, n_old: int, fold: Fold = "sum") -> Tensor:
    """Return logits (B, n_old, H, W): channel 0 plus all new channels ("sum"), or the new ones dropped ("trim").

    Source: PLOP (CVPR 2021)'s code; ciss_methods.md 4.9.1.
    """
    if fold == "trim":
        return logits[:, :n_old]
    if fold != "sum":
        raise ValueError(f"unknown fold `{fold}`, expected sum or trim")
    background = logits[:, :1] + logits[:, n_old:].sum(dim=1, keepdim=True)
    return torch.cat([background, logits[:, 1:n_old]], dim=1)


def pod_distance(
    features: Tensor,
    teacher: Tensor,
    scales: Sequence[int] = SCALES,
    pooling: Pooling = "local",
    cut: Cut = "sides",
) -> Tensor:
    """Return the batch mean of the Euclidean distance between the embeddings of two squared maps.

    Source: PLOP (CVPR 2021), one layer of local POD; ciss_methods.md 4.9.1.
    """
    # The embedding is linear, so the maps' difference is embedded once.
    difference = widened(teacher).square() - widened(features).square()
    finest = _nested(difference, scales) if pooling == "local" else 0
    found = _strips(difference, scales, finest) if finest else pod_embedding(difference, scales, pooling, cut)
    return torch.linalg.vector_norm(found, dim=1).mean()


def _nested(x: Tensor, scales: Sequence[int]) -> int:
    """Return the finest scale if every scale's cells are made of its own and none leaves pixels over, else 0."""
    height, width = x.shape[-2:]
    finest = max(scales)
    whole = height == width and width % finest == 0
    return finest if whole and all(finest % scale == 0 for scale in scales) else 0


def _strips(x: Tensor, scales: Sequence[int], finest: int) -> Tensor:
    """Return the numbers of the local embedding of a square map in another order, pooled at the finest scale once."""
    # Networks answer in channels-last order, in which means over rows and columns take three times as long.
    x = x.contiguous()
    cells = (finest, x.shape[-1] // finest)
    rows, columns = x.unflatten(3, cells).mean(4), x.unflatten(2, cells).mean(3)
    parts = []
    for scale in scales:
        parts.append(rows.unflatten(3, (scale, finest // scale)).mean(4).flatten(1))
        parts.append(columns.unflatten(2, (scale, finest // scale)).mean(3).flatten(1))
    return torch.cat(parts, dim=1)


def local_pod(
    features: Sequence[Tensor],
    teacher_features: Sequence[Tensor],
    *,
    factor: float = 0.01,
    logits_factor: float = 0.0005,
    growth: float = 1.0,
    scales: Sequence[int] = SCALES,
    pooling: Pooling = "local",
    fold: Fold = "sum",
    cut: Cut = "sides",
) -> Tensor:
    """Return L_POD = sqrt(growth) * mean over layers of factor * distance, a scalar.

    Both sequences hold one map (B, C, H, W) per layer. A layer where the student has more channels is the
    logits: its new channels are folded and it is weighted by `logits_factor`. `growth` is N_t / n_t, all
    outputs over new outputs (1 switches the schedule off). Defaults are the published VOC factors; ADE has
    0.001 and 0.00001. Raises ValueError if layers do not pair up.

    Source: PLOP (CVPR 2021), L_POD; ciss_methods.md 4.9.1.
    """
    if not features or len(features) != len(teacher_features):
        raise ValueError(f"POD needs as many student as teacher maps, got {len(features)} and {len(teacher_features)}")
    total = torch.zeros((), dtype=torch.float32, device=features[0].device)
    for student, teacher in zip(features, teacher_features, strict=True):
        weight = factor
        if student.shape[1] > teacher.shape[1]:
            student, weight = fold_new_channels(widened(student), teacher.shape[1], fold), logits_factor
        if student.shape != teacher.shape:
            raise ValueError(f"POD maps differ: student {tuple(student.shape)}, teacher {tuple(teacher.shape)}")
        total = total + weight * pod_distance(student, teacher, scales, pooling, cut)
    return math.sqrt(growth) * total / len(features)
