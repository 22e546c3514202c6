"""Rules of SSUL (NeurIPS 2021): channels, targets, decision, exemplar memory (ciss_methods.md 4.10).

Channels are unknown 0, background 1, class c at c + 1. The variant released with SATS has background and
unknown exchanged in its heads and other target rules (4.10.8); its target rule is here too.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.datasets.memory import select_memory as select_memory
from pipeline.runtime.precision import widened

UNKNOWN, BACKGROUND = 0, 1
IGNORE_INDEX = 255


def head_sizes(classes_per_step: Sequence[int]) -> list[int]:
    """Return outputs per head: unknown, background, step 0 without background, then one head per step.

    Source: SSUL (NeurIPS 2021); ciss_methods.md 4.10.1.
    """
    return [1, 1, classes_per_step[0] - 1, *classes_per_step[1:]]


def to_channels(labels: Tensor) -> Tensor:
    """Return labels (B, H, W) shifted by one for the unknown channel; 255 stays.

    Source: SSUL (NeurIPS 2021); ciss_methods.md 4.10.1.
    """
    return torch.where(labels == IGNORE_INDEX, labels, labels + 1)


def to_sats_channels(labels: Tensor) -> Tensor:
    """Return labels (B, H, W) in the order background 0, unknown 1, class c at c + 1; 255 stays.

    Source: SATS (Pattern Recognition 2023), its SSUL; ciss_methods.md 4.10.8.
    """
    return torch.where((labels == IGNORE_INDEX) | (labels == 0), labels, labels + 1)


def mark_unknown(targets: Tensor, saliency: Tensor | None = None) -> Tensor:
    """Return targets whose salient background is unknown; all background without a saliency map (ADE).

    Source: SSUL (NeurIPS 2021); ciss_methods.md 4.10.2.
    """
    unknown = targets == BACKGROUND
    if saliency is not None:
        unknown = unknown & (saliency > 0)
    return torch.where(unknown, torch.full_like(targets, UNKNOWN), targets)


def complete_with_teacher(targets: Tensor, teacher: Tensor, threshold: float = 0.7) -> Tensor:
    """Return targets whose unknown and background pixels take the teacher's confident foreground class.

    teacher: logits (B, O, H, W) at the targets' size; its best sigmoid must reach `threshold`.

    Source: SSUL (NeurIPS 2021); ciss_methods.md 4.10.2.
    """
    score, chosen = torch.sigmoid(widened(teacher)).max(dim=1)
    confident = (targets <= BACKGROUND) & (chosen > BACKGROUND) & (score >= threshold)
    return torch.where(confident, chosen.to(targets.dtype), targets)


def sats_targets(
    labels: Tensor, teacher: Tensor, saliency: Tensor, threshold: float = 0.5, salient: float = 0.5
) -> Tensor:
    """Return targets by the rule released with SATS: only label 0 changes (4.10.8).

    It takes the teacher's foreground class if the best sigmoid exceeds `threshold`; a salient pixel without such
    confidence becomes unknown, which is channel 1 there.

    Source: SATS (Pattern Recognition 2023), its SSUL; ciss_methods.md 4.10.8.
    """
    score, chosen = torch.sigmoid(widened(teacher)).max(dim=1)
    free, confident = labels == 0, score > threshold
    unknown = torch.where(free & ~confident & (saliency >= salient), torch.ones_like(labels), labels)
    return torch.where(free & confident & (chosen > 1), chosen.to(labels.dtype), unknown)


def merged_scores(logits: Tensor) -> Tensor:
    """Return scores (B, N - 1, H, W): sigmoids with the unknown's added to the background's and dropped.

    Source: SSUL (NeurIPS 2021); ciss_methods.md 4.10.6.
    """
    scores = torch.sigmoid(widened(logits))
    return torch.cat([scores[:, :1] + scores[:, 1:2], scores[:, 2:]], dim=1)


def decide(logits: Tensor) -> Tensor:
    """Return the label map (B, H, W), background 0, of logits (B, N, H, W) in SSUL's channels.

    Source: SSUL (NeurIPS 2021); ciss_methods.md 4.10.6.
    """
    return merged_scores(logits).argmax(dim=1)


def decide_sats(logits: Tensor) -> Tensor:
    """Return the label map (B, H, W) of SATS's variant: the best channel, unknown counted as background.

    Source: SATS (Pattern Recognition 2023), its SSUL; ciss_methods.md 4.10.8.
    """
    return (logits.argmax(dim=1) - 1).clamp(min=0)
