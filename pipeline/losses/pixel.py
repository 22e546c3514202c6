"""Pixel losses as pure functions (web_wilss.md 4; ciss_methods.md 4.0).

Shapes: logits (B, N, H, W), target (B, H, W) int64 with `ignore_index` for unlabelled pixels. `mean_all` divides by
every pixel, `mean_valid` by labelled ones. Everything is computed in float32 at least.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.distributed.whole_batch import AT_HAND, Count
from pipeline.runtime.precision import widened

Reduction = Literal["none", "mean_all", "mean_valid"]


def reduce_pixels(
    values: Tensor, target: Tensor, ignore_index: int, reduction: Reduction, *, count: Count = AT_HAND
) -> Tensor:
    """Return per-pixel values (B, H, W), zero where ignored, reduced over all or over labelled pixels.

    `mean_valid` divides by the labelled pixels of the whole batch, of which those at hand may be one part: a method
    gives it `forward.count(name)`, other reductions need no count.

    Source: mean_all and mean_valid of ciss_methods.md 1.2, no paper's own.
    """
    values = values * (target != ignore_index)
    if reduction == "none":
        return values
    if reduction == "mean_all":
        return values.mean()
    labelled = count.total((target != ignore_index).sum())
    return values.sum() * count.parts / labelled.clamp(min=1)


def cross_entropy(
    logits: Tensor,
    target: Tensor,
    ignore_index: int = 255,
    reduction: Reduction = "mean_all",
    *,
    count: Count = AT_HAND,
) -> Tensor:
    """Return softmax cross-entropy (CE of ciss_methods.md 4.0).

    Source: the common loss of MiB's code (CVPR 2020); ciss_methods.md 4.0, CE.
    """
    values = F.cross_entropy(widened(logits), target, ignore_index=ignore_index, reduction="none")
    return reduce_pixels(values, target, ignore_index, reduction, count=count)


def focal_cross_entropy(
    logits: Tensor,
    target: Tensor,
    gamma: float = 2.0,
    ignore_index: int = 255,
    reduction: Reduction = "mean_all",
    *,
    count: Count = AT_HAND,
) -> Tensor:
    """Return -(1 - p_y)^gamma log p_y (focal loss, ICCV 2017, without class weights).

    Source: Focal Loss (ICCV 2017); ciss_methods.md 4.12.
    """
    values = cross_entropy(logits, target, ignore_index, "none")
    return reduce_pixels((1 - torch.exp(-values)) ** gamma * values, target, ignore_index, reduction, count=count)


def one_hot(target: Tensor, n_classes: int, ignore_index: int, dtype: torch.dtype) -> Tensor:
    """Return (B, N, H, W), all zero at ignored pixels.

    Source: the targets of BCE_sum in WILSON (CVPR 2022); web_wilss.md 4.1.
    """
    # scatter instead of F.one_hot: no int64 copy with N channels, which at full crops takes gigabytes.
    known = (target != ignore_index).unsqueeze(1)
    index = target.unsqueeze(1).masked_fill(~known, 0)
    batch, height, width = target.shape
    hot = torch.zeros(batch, n_classes, height, width, dtype=dtype, device=target.device)
    return hot.scatter_(1, index, known.to(dtype))


def summed_bce(
    logits: Tensor,
    target: Tensor,
    ignore_index: int = 255,
    reduction: Reduction = "mean_all",
    *,
    count: Count = AT_HAND,
) -> Tensor:
    """Return binary cross-entropy of sigmoid outputs summed over channels (web_wilss.md 4.1, BCE_sum).

    Source: WILSON (CVPR 2022), step 0; SSUL (NeurIPS 2021); ciss_methods.md 4.0, BCE_sum.
    """
    logits = widened(logits)
    hot = one_hot(target, logits.shape[1], ignore_index, logits.dtype)
    values = F.binary_cross_entropy_with_logits(logits, hot, reduction="none").sum(dim=1)
    return reduce_pixels(values, target, ignore_index, reduction, count=count)


def unbiased_cross_entropy(
    logits: Tensor,
    target: Tensor,
    n_old: int,
    ignore_index: int = 255,
    reduction: Reduction = "mean_all",
    *,
    count: Count = AT_HAND,
) -> Tensor:
    """Return MiB's cross-entropy: every label below `n_old` means "any old class" (UNCE, CVPR 2020 eq. 5).

    Source: MiB (CVPR 2020) eq. 5; ciss_methods.md 4.0, UNCE.
    """
    logits = widened(logits)
    total = torch.logsumexp(logits, dim=1, keepdim=True)
    background = torch.logsumexp(logits[:, :n_old], dim=1, keepdim=True) - total
    log_p = torch.cat([background.expand(-1, n_old, -1, -1), logits[:, n_old:] - total], dim=1)
    values = F.nll_loss(log_p, target, ignore_index=ignore_index, reduction="none")
    return reduce_pixels(values, target, ignore_index, reduction, count=count)
