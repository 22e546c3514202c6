"""Base of PLOP and SATS: entropy-based pseudo-labels (ciss_methods.md 4.9)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from pipeline import distributed
from pipeline.losses.pseudo_labels import UncertaintyHistogram, adaptive_factor, entropy_thresholds, pseudo_targets
from pipeline.methods import Batch, Method, MethodSettings, StepInfo
from pipeline.models.initialise import balanced
from pipeline.models.network import SegmentationModel
from pipeline.models.resize import upsample


class PseudoLabelSettings(MethodSettings):
    """Entropy thresholds and pseudo-labels, shared by PLOP and SATS."""

    threshold: float = 0.001
    """Lower bound of every class's threshold (option threshold)."""
    median: Literal["published", "exact"] = "published"
    """published: the released median, which accumulates bin indices; exact: the median."""
    entropy: Literal["mean", "sum"] = "mean"
    """mean over classes as released, or the true normalised entropy: sum."""
    median_inf: float = math.inf
    """What an infinite median becomes; infinity accepts every pixel of the class, as PLOP does."""
    adaptive: bool = True
    """Weigh each image's cross-entropy by its share of accepted pixels."""
    nu_min: float = 0.0
    """Lower bound of that weight."""
    exemplar_gt: Literal["keep", "overwrite"] = "keep"
    """keep the old classes' true labels in exemplars; overwrite them by pseudo-labels, as SATS does."""
    sync_thresholds: bool = True
    """Sum histograms over processes; off, each has its own thresholds, as in the released code."""


class PseudoLabelMethod(Method):
    """A method whose old-labelled pixels take the teacher's confident classes."""

    def __init__(self, settings: Any, info: StepInfo) -> None:
        super().__init__(settings, info)
        self.thresholds = torch.full((info.n_total,), math.nan)

    def init_classifier(self, model: SegmentationModel) -> None:
        """Share the background's probability with the new classes."""
        balanced(model.classifiers)

    @torch.no_grad()
    def calibrate(self, batches: Iterable[Batch], teacher: SegmentationModel) -> None:
        """Set the entropy threshold of every old class from one pass of the training data."""
        histogram = UncertaintyHistogram(self.info.n_old, self.info.n_total, self.settings.entropy)
        for batch in batches:
            histogram.update(upsample(teacher(batch.images).logits, batch.masks.shape[-2:]), batch.masks)
        counts = distributed.total(histogram.counts) if self.settings.sync_thresholds else histogram.counts
        infinite = None if math.isinf(self.settings.median_inf) else self.settings.median_inf
        self.thresholds = entropy_thresholds(
            counts, self.info.n_total, self.settings.median, infinite, self.settings.threshold
        )

    def targets(self, batch: Batch, old: Tensor) -> tuple[Tensor, Tensor]:
        """Return the completed labels (B, H, W) and the weight nu of every image (B, 1, 1).

        old: the teacher's logits (B, O, H, W) at the masks' size.
        """
        masks = batch.masks
        pseudo = pseudo_targets(
            masks, old, self.thresholds.to(old.device), self.info.n_total, kind=self.settings.entropy
        )
        if self.settings.exemplar_gt == "keep":
            pseudo = torch.where(batch.remembered() & (masks > 0), masks, pseudo)
        if not self.settings.adaptive:
            return pseudo, torch.ones(len(masks), 1, 1, device=masks.device)
        return pseudo, adaptive_factor(masks, pseudo, self.info.n_old, floor=self.settings.nu_min)[:, None, None]

    @property
    def differs_by_process(self) -> bool:
        """Return whether every process has thresholds of its own."""
        return not self.settings.sync_thresholds

    def state(self) -> dict[str, Tensor]:
        """Return the thresholds; a resumed step continues with them."""
        return {"thresholds": self.thresholds}

    def load_state(self, state: Mapping[str, Tensor], resumed: bool) -> None:
        """Take thresholds back; a new step measures its own."""
        if resumed:
            self.thresholds = state["thresholds"]
