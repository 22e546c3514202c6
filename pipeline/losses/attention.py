"""Self-attention transfer of SATS (Pattern Recognition 2023): region pooling and variants (ciss_methods.md 4.11)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.runtime.precision import widened

Layout = Literal["aligned", "legacy"]
Variant = Literal["class", "GP", "NP"]
IGNORE_INDEX = 255


def by_position(attention: Tensor, layout: Layout = "aligned") -> Tensor:
    """Return attention (B, heads, L, K) as (B, L, heads, K), one entry per query position.

    `legacy` reinterprets the memory without transposing, as the released code does: with several heads,
    positions and heads are scrambled (4.11.3). Raises ValueError for another layout.

    Source: SATS (Pattern Recognition 2023); ciss_methods.md 4.11.3.
    """
    if layout == "aligned":
        return attention.transpose(1, 2)
    if layout != "legacy":
        raise ValueError(f"unknown attention layout `{layout}`, expected aligned or legacy")
    batch, heads, length, keys = attention.shape
    return attention.reshape(batch, length, heads, keys)


def region_labels(labels: Tensor, size: Sequence[int]) -> Tensor:
    """Return labels (B, H, W) at another size, nearest neighbour at pixel centres (PIL's convention).

    Source: SATS (Pattern Recognition 2023); ciss_methods.md 4.11.1.
    """
    return F.interpolate(labels[:, None].float(), size=list(size), mode="nearest-exact")[:, 0].to(labels.dtype)


def class_region_pooling(values: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return means (B, R, ...) of `values` (B, L, ...) over class regions, and presence (B, R) as 0 or 1.

    `labels` (B, L) holds the class of every position; the R regions are the batch's distinct labels in
    ascending order, without 0 and 255. The mean of a class absent from an image is 0.

    Source: SATS (Pattern Recognition 2023), class-specific region pooling; ciss_methods.md 4.11.1.
    """
    classes = labels.unique()
    classes = classes[(classes != 0) & (classes != IGNORE_INDEX)]
    flat = widened(values).flatten(2)
    with torch.autocast(flat.device.type, enabled=False):
        members = (labels[:, None] == classes[None, :, None]).to(flat.dtype)
        count = members.sum(dim=2)
        means = (members / count.clamp(min=1)[..., None]) @ flat
    return means.unflatten(2, values.shape[2:]), (count > 0).to(flat.dtype)


def region_transfer(values: Tensor, teacher_values: Tensor, labels: Tensor) -> Tensor:
    """Return the mean over images of the mean over their regions of the distance between pooled values.

    values and teacher_values (B, L, h, K), labels (B, L). The distance is Euclidean over K, averaged over h.
    Images without regions contribute 0 and count.

    Source: SATS (Pattern Recognition 2023); ciss_methods.md 4.11.2.
    """
    means, present = class_region_pooling(values, labels)
    teacher_means, _ = class_region_pooling(teacher_values, labels)
    distance = torch.linalg.vector_norm(means - teacher_means, dim=-1).mean(dim=-1)
    return ((distance * present).sum(dim=1) / present.sum(dim=1).clamp(min=1)).mean()


def attention_transfer(
    attention: Sequence[Tensor],
    teacher_attention: Sequence[Tensor],
    labels: Tensor,
    *,
    layout: Layout = "aligned",
    variant: Variant = "class",
) -> Tensor:
    """Return SAT, the mean over stages of the transfer loss, unweighted.

    Each stage: post-softmax attention (B, heads, L, K) of student and teacher. `labels` (B, H, W) are the
    targets after pseudo-labelling; a stage's positions form a grid of the labels' aspect ratio. `class`
    pools positions by class region, `GP` over the whole image, `NP` compares every position.
    Raises ValueError if stages do not pair up or a stage's L is no such grid.

    Source: SATS (Pattern Recognition 2023), SAT; ciss_methods.md 4.11.2 and 4.11.4.
    """
    _check_pairs(attention, teacher_attention)
    stages = [
        _stage(by_position(student, layout), by_position(teacher, layout), labels, variant)
        for student, teacher in zip(attention, teacher_attention, strict=True)
    ]
    return torch.stack(stages).mean()


def _stage(values: Tensor, teacher_values: Tensor, labels: Tensor, variant: Variant) -> Tensor:
    values, teacher_values = widened(values), widened(teacher_values)
    if variant == "NP":
        return torch.linalg.vector_norm(values - teacher_values, dim=-1).mean()
    if variant == "GP":
        return torch.linalg.vector_norm((values - teacher_values).mean(dim=1), dim=-1).mean()
    if variant != "class":
        raise ValueError(f"unknown attention transfer `{variant}`, expected class, GP or NP")
    grid = _grid(values.shape[1], labels)
    return region_transfer(values, teacher_values, region_labels(labels, grid).flatten(1))


def feature_transfer(maps: Sequence[Tensor], teacher_maps: Sequence[Tensor], labels: Tensor) -> Tensor:
    """Return the variant for convolutional bodies: region pooling of feature maps (B, C, h, w) (4.11.4).

    The sum over maps is divided by 4, whatever their number, as the published weight expects.

    Source: SATS (Pattern Recognition 2023), feature-CNN; ciss_methods.md 4.11.4.
    """
    _check_pairs(maps, teacher_maps)
    layers = [
        region_transfer(_pixels(student), _pixels(teacher), region_labels(labels, student.shape[-2:]).flatten(1))
        for student, teacher in zip(maps, teacher_maps, strict=True)
    ]
    return torch.stack(layers).sum() / 4


def _pixels(features: Tensor) -> Tensor:
    return features.flatten(2).transpose(1, 2).unsqueeze(2)


def _grid(length: int, labels: Tensor) -> tuple[int, int]:
    height, width = labels.shape[-2:]
    rows = max(1, round(math.sqrt(length * height / width)))
    if rows * (length // rows) != length:
        raise ValueError(f"{length} attention positions do not fill a grid shaped like {height}x{width} labels")
    return rows, length // rows


def _check_pairs(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> None:
    if not student or len(student) != len(teacher):
        raise ValueError(f"transfer needs as many student as teacher maps, got {len(student)} and {len(teacher)}")
