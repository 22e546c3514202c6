"""Losses and pseudo-labels of the weak step of WILSON (CVPR 2022); formulas in web_wilss.md 4.

Shapes: localizer logits (B, N, h, w) over background and all known classes; teacher logits (B, O, h, w);
labels (B, N-1) image-level, background dropped; masks (B, N, h, w) probabilities.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.datasets.imagenet import MEAN, STD
from pipeline.distributed.whole_batch import AT_HAND, Count
from pipeline.losses.pamr import pamr
from pipeline.runtime.precision import widened

__all__ = [
    "classification_loss",
    "denormalise",
    "hard_maximum",
    "hard_pseudo_mask",
    "image_weights",
    "keep_labelled",
    "localization_prior",
    "mixed_mask",
    "ngwp",
    "pamr",
    "pooled_scores",
    "segmentation_loss",
    "self_supervised_loss",
    "self_supervised_values",
    "soft_targets",
]

Pooling = Literal["ngwp", "att", "mean"]
FOCAL_OFFSET = 0.01
FOCAL_POWER = 3.0


def denormalise(images: Tensor) -> Tensor:
    """Return normalised images (B, 3, H, W) in [0, 1].

    Source: WILSON (CVPR 2022); web_wilss.md 4.6.
    """
    mean, std = (images.new_tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return images * std + mean


def ngwp(logits: Tensor) -> Tensor:
    """Return nGWP scores (B, N): sum m z / (1 + sum m), m = softmax over channels (4.3).

    Source: Araslanov and Roth (CVPR 2020), g_c in WILSON (CVPR 2022); web_wilss.md 4.3.
    """
    logits = widened(logits)
    masks = logits.softmax(dim=1)
    return (masks * logits).sum(dim=(2, 3)) / (1 + masks.sum(dim=(2, 3)))


def focal_penalty(logits: Tensor) -> Tensor:
    """Return (1 - M)^3 log(0.01 + M) with M the mean mask of a channel, (B, N) (4.3).

    Source: Araslanov and Roth (CVPR 2020), f_c in WILSON (CVPR 2022); web_wilss.md 4.3.
    """
    size = widened(logits).softmax(dim=1).mean(dim=(2, 3))
    return (1 - size) ** FOCAL_POWER * torch.log(FOCAL_OFFSET + size)


def pooled_scores(logits: Tensor, pooling: Pooling = "ngwp") -> Tensor:
    """Return class scores (B, N) before the sigmoid, by the option `cam` (4.3).

    Source: WILSON (CVPR 2022); web_wilss.md 4.3.
    """
    logits = widened(logits)
    if pooling == "ngwp":
        return ngwp(logits) + focal_penalty(logits)
    if pooling == "att":
        weights = logits.softmax(dim=1) + FOCAL_OFFSET
        return (weights * logits).sum(dim=(2, 3)) / weights.sum(dim=(2, 3))
    if pooling == "mean":
        return logits.mean(dim=(2, 3))
    raise ValueError(f"unknown pooling `{pooling}`, expected ngwp, att or mean")


def classification_loss(
    logits: Tensor, labels: Tensor, pooling: Pooling = "ngwp", reduction: Literal["mean", "sum"] = "mean"
) -> Tensor:
    """Return l_CLS: BCE of pooled scores against `labels` (B, K), which name the last K channels (4.3).

    Source: WILSON (CVPR 2022), l_CLS; web_wilss.md 4.3.
    """
    scores = pooled_scores(logits, pooling)[:, -labels.shape[1] :]
    values = F.binary_cross_entropy_with_logits(scores, labels.to(scores.dtype), reduction="none")
    return values.mean() if reduction == "mean" else values.sum(dim=1).mean()


def localization_prior(logits: Tensor, teacher: Tensor) -> Tensor:
    """Return l_LOC: BCE of the localizer's first O channels against the teacher's sigmoids (4.4).

    Source: WILSON (CVPR 2022), l_LOC; web_wilss.md 4.4.
    """
    n_old = teacher.shape[1]
    return F.binary_cross_entropy_with_logits(widened(logits)[:, :n_old], torch.sigmoid(widened(teacher)))


def keep_labelled(masks: Tensor, labels: Tensor) -> Tensor:
    """Return masks with the channels of absent classes set to zero; background stays (4.7).

    Source: WILSON (CVPR 2022); web_wilss.md 4.7.
    """
    present = torch.cat([labels.new_ones(labels.shape[0], 1), labels], dim=1).to(masks.dtype)
    return masks * present[:, :, None, None]


def hard_pseudo_mask(
    masks: Tensor,
    cutoff_background: float = 0.7,
    cutoff_top: float = 0.6,
    cutoff_low: float = 0.2,
    drop_ambiguous: bool = True,
) -> Tensor:
    """Return G (B, N, h, w) of zeros and ones: pixels above max(r_c * peak_c, cutoff_low) (4.7).

    A pixel claimed by several classes becomes all-zero unless `drop_ambiguous` is off.

    Source: Araslanov and Roth (CVPR 2020), G in WILSON (CVPR 2022); web_wilss.md 4.7.
    """
    ratios = masks.new_full((masks.shape[1],), cutoff_top)
    ratios[0] = cutoff_background
    peak = masks.amax(dim=(2, 3))
    threshold = (ratios * peak).clamp(min=cutoff_low)
    chosen = (masks > threshold[:, :, None, None]).to(masks.dtype)
    if drop_ambiguous:
        chosen = chosen * (chosen.sum(dim=1, keepdim=True) <= 1)
    return chosen


def self_supervised_loss(logits: Tensor, pseudo_mask: Tensor, labels: Tensor, n_old: int | None = None) -> Tensor:
    """Return l_SSS: class-balanced cross-entropy of the localizer on its own pseudo-mask (4.8).

    An image counts only if exactly the labelled classes and background appear in its pseudo-mask. With
    `n_old` the log-probability of the background is that of all old channels together, and pixels of an old
    foreground class carry no loss (the released unbiased variant, check W18).

    Source: Araslanov and Roth (CVPR 2020), l_SSS in WILSON (CVPR 2022); web_wilss.md 4.8.
    """
    return self_supervised_values(logits, pseudo_mask, labels, n_old)[0].mean()


def self_supervised_values(
    logits: Tensor, pseudo_mask: Tensor, labels: Tensor, n_old: int | None = None
) -> tuple[Tensor, Tensor]:
    """Return l_SSS of every image (B,), 0 where it does not count, and which images count (B,) as 0 and 1.

    Source: Araslanov and Roth (CVPR 2020), l_SSS in WILSON (CVPR 2022); web_wilss.md 4.8.
    """
    logits = widened(logits)
    if logits.shape[-2:] != pseudo_mask.shape[-2:]:
        logits = F.interpolate(logits, size=pseudo_mask.shape[-2:], mode="bilinear", align_corners=True)
    target = pseudo_mask.argmax(dim=1)
    log_p = F.log_softmax(logits, dim=1) if n_old is None else _unbiased_log_softmax(logits, n_old)
    loss = F.nll_loss(log_p, target, reduction="none") * (pseudo_mask.sum(dim=1) > 0)
    count = pseudo_mask.sum(dim=(2, 3))
    total = count.sum(dim=1, keepdim=True)
    class_weight = (total - count) / (1 + total)
    weight = (pseudo_mask * class_weight[:, :, None, None]).sum(dim=1)
    agrees = ((count > 0).sum(dim=1) == 1 + labels.sum(dim=1)).to(loss.dtype)
    return agrees * (weight * loss).mean(dim=(1, 2)), agrees


def _unbiased_log_softmax(logits: Tensor, n_old: int) -> Tensor:
    total = torch.logsumexp(logits, dim=1, keepdim=True)
    background = torch.logsumexp(logits[:, :n_old], dim=1, keepdim=True) - total
    nothing = torch.zeros_like(logits[:, 1:n_old])
    return torch.cat([background, nothing, logits[:, n_old:] - total], dim=1)


def hard_maximum(masks: Tensor) -> Tensor:
    """Return 1 where a channel equals the maximum over channels, else 0; ties give several ones (4.9).

    Source: WILSON (CVPR 2022) eq. 9; web_wilss.md 4.9.
    """
    return (masks == masks.amax(dim=1, keepdim=True)).to(masks.dtype)


def mixed_mask(localizer: Tensor, labels: Tensor, alpha: float = 0.5) -> Tensor:
    """Return q = alpha * hard + (1 - alpha) * soft of the labelled localizer masks (4.9).

    Source: WILSON (CVPR 2022) eq. 9; web_wilss.md 4.9.
    """
    masks = keep_labelled(widened(localizer).softmax(dim=1), labels)
    return alpha * hard_maximum(masks) + (1 - alpha) * masks


def combine_targets(mixed: Tensor, teacher: Tensor, background_mix: float | None = None) -> Tensor:
    """Return segmentation targets from q (B, N, h, w) and the teacher's logits (4.9).

    Old foreground channels: the teacher's sigmoid; new channels: q; background: the minimum of both, or
    (1 - r) * teacher + r * q with r = `background_mix`.

    Source: WILSON (CVPR 2022); web_wilss.md 4.9.
    """
    old = torch.sigmoid(widened(teacher))
    n_old = teacher.shape[1]
    if background_mix is None:
        background = torch.minimum(old[:, :1], mixed[:, :1])
    else:
        background = (1 - background_mix) * old[:, :1] + background_mix * mixed[:, :1]
    return torch.cat([background, old[:, 1:], mixed[:, n_old:]], dim=1)


def soft_targets(
    localizer: Tensor,
    teacher: Tensor,
    labels: Tensor,
    alpha: float = 0.5,
    background_mix: float | None = None,
) -> Tensor:
    """Return the soft targets (B, N, h, w) of the segmentation network (4.9).

    Source: WILSON (CVPR 2022); web_wilss.md 4.9.
    """
    return combine_targets(mixed_mask(localizer, labels, alpha), teacher, background_mix)


def image_weights(localizer: Tensor, labels: Tensor, n_new: int, alpha: float = 0.5) -> Tensor:
    """Return u (B,): 1 if exactly the labelled new classes have any mass in q, else 0 (4.10).

    Source: WILSON (CVPR 2022)'s code, u_b; web_wilss.md 4.10.
    """
    shown = mixed_mask(localizer, labels, alpha)[:, -n_new:].sum(dim=(2, 3)) > 0
    return (shown == (labels[:, -n_new:] == 1)).all(dim=1).to(widened(localizer).dtype)


def segmentation_loss(logits: Tensor, targets: Tensor, weights: Tensor, *, count: Count = AT_HAND) -> Tensor:
    """Return l_SEG: BCE summed over channels, mean over pixels, weighted mean over images (4.10).

    The mean is over the images of the whole batch, of which those at hand may be one part: a method gives it
    `forward.count(name)`.

    Source: WILSON (CVPR 2022), l_SEG; web_wilss.md 4.10.
    """
    values = F.binary_cross_entropy_with_logits(widened(logits), targets, reduction="none").sum(dim=1).mean(dim=(1, 2))
    return (weights * values).sum() * count.parts / (count.total(weights.sum()) + 1e-5)
