"""Pixel losses and distillation terms as pure functions (web_wilss.md 4; ciss_methods.md 4.0).

Shapes: logits (B, N, H, W), teacher logits (B, O, H, W) with O <= N old channels, target (B, H, W) int64 with
`ignore_index` for unlabelled pixels. `mean_all` divides by every pixel, `mean_valid` by labelled ones.
Everything is computed in float32 at least. POD and attention transfer live in pod.py and attention.py.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.train import whole_batch
from pipeline.train.attention import attention_transfer, class_region_pooling, feature_transfer
from pipeline.train.pod import local_pod
from pipeline.train.precision import widened

__all__ = [
    "attention_transfer",
    "class_region_pooling",
    "cross_entropy",
    "feature_mse",
    "feature_transfer",
    "focal_cross_entropy",
    "icarl_combined",
    "icarl_disjoint",
    "knowledge_distillation",
    "local_pod",
    "one_hot",
    "reduce_pixels",
    "summed_bce",
    "unbiased_cross_entropy",
    "unbiased_knowledge_distillation",
]

Reduction = Literal["none", "mean_all", "mean_valid"]


def reduce_pixels(values: Tensor, target: Tensor, ignore_index: int, reduction: Reduction) -> Tensor:
    """Return per-pixel values (B, H, W), zero where ignored, reduced over all or over labelled pixels.

    Labelled pixels are counted over the whole batch, of which the pixels at hand may be one part.
    """
    values = values * (target != ignore_index)
    if reduction == "none":
        return values
    if reduction == "mean_all":
        return values.mean()
    labelled = whole_batch.total((target != ignore_index).sum())
    return values.sum() * whole_batch.parts() / labelled.clamp(min=1)


def cross_entropy(logits: Tensor, target: Tensor, ignore_index: int = 255, reduction: Reduction = "mean_all") -> Tensor:
    """Return softmax cross-entropy (CE of ciss_methods.md 4.0)."""
    values = F.cross_entropy(widened(logits), target, ignore_index=ignore_index, reduction="none")
    return reduce_pixels(values, target, ignore_index, reduction)


def focal_cross_entropy(
    logits: Tensor, target: Tensor, gamma: float = 2.0, ignore_index: int = 255, reduction: Reduction = "mean_all"
) -> Tensor:
    """Return -(1 - p_y)^gamma log p_y (focal loss, ICCV 2017, without class weights)."""
    values = cross_entropy(logits, target, ignore_index, "none")
    return reduce_pixels((1 - torch.exp(-values)) ** gamma * values, target, ignore_index, reduction)


def one_hot(target: Tensor, n_classes: int, ignore_index: int, dtype: torch.dtype) -> Tensor:
    """Return (B, N, H, W), all zero at ignored pixels."""
    # scatter instead of F.one_hot: no int64 copy with N channels, which at full crops takes gigabytes.
    known = (target != ignore_index).unsqueeze(1)
    index = target.unsqueeze(1).masked_fill(~known, 0)
    batch, height, width = target.shape
    hot = torch.zeros(batch, n_classes, height, width, dtype=dtype, device=target.device)
    return hot.scatter_(1, index, known.to(dtype))


def summed_bce(logits: Tensor, target: Tensor, ignore_index: int = 255, reduction: Reduction = "mean_all") -> Tensor:
    """Return binary cross-entropy of sigmoid outputs summed over channels (web_wilss.md 4.1, BCE_sum)."""
    logits = widened(logits)
    hot = one_hot(target, logits.shape[1], ignore_index, logits.dtype)
    values = F.binary_cross_entropy_with_logits(logits, hot, reduction="none").sum(dim=1)
    return reduce_pixels(values, target, ignore_index, reduction)


def unbiased_cross_entropy(
    logits: Tensor, target: Tensor, n_old: int, ignore_index: int = 255, reduction: Reduction = "mean_all"
) -> Tensor:
    """Return MiB's cross-entropy: every label below `n_old` means "any old class" (UNCE, CVPR 2020 eq. 5)."""
    logits = widened(logits)
    total = torch.logsumexp(logits, dim=1, keepdim=True)
    background = torch.logsumexp(logits[:, :n_old], dim=1, keepdim=True) - total
    log_p = torch.cat([background.expand(-1, n_old, -1, -1), logits[:, n_old:] - total], dim=1)
    values = F.nll_loss(log_p, target, ignore_index=ignore_index, reduction="none")
    return reduce_pixels(values, target, ignore_index, reduction)


def knowledge_distillation(logits: Tensor, teacher: Tensor, alpha: float = 1.0) -> Tensor:
    """Return the mean over pixels of -(1/O) sum_c softmax(alpha * teacher)_c log softmax(logits[:O])_c (KD)."""
    n_old = teacher.shape[1]
    log_p = F.log_softmax(widened(logits)[:, :n_old], dim=1)
    return -(F.softmax(alpha * widened(teacher), dim=1) * log_p).mean(dim=1).mean()


def unbiased_knowledge_distillation(logits: Tensor, teacher: Tensor, alpha: float = 1.0) -> Tensor:
    """Return MiB's distillation: the student's background and new classes together face the old background.

    UNKD, CVPR 2020 eq. 8; mean over the O old channels and over all pixels.
    """
    n_old, logits = teacher.shape[1], widened(logits)
    total = torch.logsumexp(logits, dim=1, keepdim=True)
    old = logits[:, 1:n_old] - total
    background = torch.logsumexp(torch.cat([logits[:, :1], logits[:, n_old:]], dim=1), dim=1, keepdim=True) - total
    q = F.softmax(alpha * widened(teacher), dim=1)
    return -(q * torch.cat([background, old], dim=1)).mean(dim=1).mean()


def icarl_combined(logits: Tensor, teacher: Tensor) -> Tensor:
    """Return O * mean over pixels and old channels of BCE(sigma(logits), sigma(teacher)) (LWF-MC)."""
    n_old = teacher.shape[1]
    return n_old * F.binary_cross_entropy_with_logits(widened(logits)[:, :n_old], torch.sigmoid(widened(teacher)))


def icarl_disjoint(
    logits: Tensor, target: Tensor, teacher: Tensor, background: float = 0.0, ignore_index: int = 255
) -> Tensor:
    """Return one BCE whose old-channel targets are the teacher's sigmoids (web_wilss.md 4.12).

    The background target is r * label + (1 - r) * teacher with r = `background`, their minimum for r = -1.
    """
    n_old, logits = teacher.shape[1], widened(logits)
    goal = one_hot(target, logits.shape[1], ignore_index, logits.dtype)
    old = torch.sigmoid(widened(teacher)).to(logits.dtype)
    label_background = goal[:, :1].clone()
    goal[:, :n_old] = old
    if background == -1:
        goal[:, :1] = torch.minimum(label_background, old[:, :1])
    else:
        goal[:, :1] = background * label_background + (1 - background) * old[:, :1]
    return F.binary_cross_entropy_with_logits(logits, goal, reduction="none").sum(dim=1).mean()


def feature_mse(features: Tensor, teacher_features: Tensor) -> Tensor:
    """Return the mean squared error over all elements, in float32 at least (l_ENC, ILT)."""
    return F.mse_loss(widened(features), widened(teacher_features))
