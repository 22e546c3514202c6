"""SSUL (NeurIPS 2021): an unknown class, sigmoid pseudo-labels, a frozen network (ciss_methods.md 4.10)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.losses import ssul as rules
from pipeline.losses import summed_bce
from pipeline.methods import Forward, Heads, Method, MethodSettings, register, ssul_schedule
from pipeline.models.initialise import copy_unknown
from pipeline.models.network import SegmentationModel


class SsulSettings(MethodSettings):
    """The authors' values."""

    threshold: float = 0.7
    """Sigmoid from which the teacher's class becomes a label; SATS's release has 0.5."""
    background_lr: float = 1e-4
    """Learning rate of the background's classifier as a multiple of the others'."""
    implementation: Literal["original", "sats"] = "original"
    """original: the authors' code; sats: the re-implementation released with SATS (4.10.8), labels aligned."""
    schedule: ssul_schedule.Schedule = "poly"
    """poly: never below 1e-6; warm_poly: with a rise over a tenth of the step, as on ADE. Not for `sats`."""


@register
class Ssul(Method):
    """Binary cross-entropy on completed labels; only the newest, unknown and background classifiers learn.

    Source: SSUL (NeurIPS 2021); ciss_methods.md 4.10.
    """

    name = "ssul"
    title = "SSUL"
    recipe = "ssul"
    Settings = SsulSettings

    @classmethod
    def recipe_for(cls, settings: Any) -> str:
        """Return `ssul`, or `ssul_sats` for the re-implementation."""
        return "ssul" if settings.implementation == "original" else "ssul_sats"

    @classmethod
    def heads(cls, settings: Any, classes_per_step: Sequence[int]) -> Heads:
        """Return unknown and background (or the reverse), step 0's classes, then one classifier per step."""
        kind = "conv" if settings.implementation == "original" else "linear"
        return Heads(tuple(rules.head_sizes(classes_per_step)), kind)

    @classmethod
    def wants_saliency(cls, settings: Any, dataset: str) -> bool:
        """Return true except on ADE, where the authors call all background unknown."""
        return dataset != "ade" or settings.implementation == "sats"

    @classmethod
    def published(cls, dataset: str, task: str, backbone: str) -> dict[str, Any]:
        """Return the schedule with a rise on ADE (ciss_methods.md 5)."""
        return {"schedule": "warm_poly"} if dataset == "ade" else {}

    @classmethod
    def exemplar_mixing(cls, settings: Any) -> Literal["interleave", "overwrite"]:
        """Return `overwrite`; the re-implementation takes turns (ciss_methods.md 2.7)."""
        return "overwrite" if settings.implementation == "original" else "interleave"

    def warm_share(self) -> float:
        """Return a tenth under `warm_poly`."""
        return ssul_schedule.warm_share(self.settings.schedule) if self._original else 0.0

    def lr_floor(self) -> float:
        """Return 1e-6 under `poly`."""
        return ssul_schedule.lr_floor(self.settings.schedule) if self._original else 0.0

    @property
    def _original(self) -> bool:
        return bool(self.settings.implementation == "original")

    def init_classifier(self, model: SegmentationModel) -> None:
        """Start the new classifier from the unknown's and freeze all but three classifiers."""
        unknown = model.classifiers[0 if self._original else 1]
        copy_unknown(unknown, model.classifiers[-1], bias=self._original)
        model.requires_grad_(False)
        for classifier in self._trained(model):
            for layer in classifier.modules():
                if isinstance(layer, nn.Conv2d):
                    layer.requires_grad_(True)

    def _trained(self, model: SegmentationModel) -> list[nn.Module]:
        return [model.classifiers[i] for i in (-1, 0, 1)]

    def param_groups(self, model: SegmentationModel, extra: nn.Module | None, lr: float) -> list[dict[str, Any]]:
        """Return newest, unknown and background classifiers; the last hardly moves in the original."""
        slow = lr * self.settings.background_lr
        rates = (lr, lr, slow) if self._original else (lr, lr, lr)
        return [
            {"params": [p for p in classifier.parameters() if p.requires_grad], "lr": rate}
            for classifier, rate in zip(self._trained(model), rates, strict=True)
        ]

    def train_mode(self, model: SegmentationModel) -> None:
        """Keep every norm's statistics, with dropout on as released; the re-implementation lets them drift."""
        model.train()
        for norm in model.modules() if self._original else ():
            if isinstance(norm, _BatchNorm):
                norm.eval()

    def losses(self, forward: Forward) -> dict[str, Tensor]:
        """Return the summed binary cross-entropy."""
        batch = forward.batch
        logits, old = forward.logits()
        if self._original:
            targets = rules.mark_unknown(rules.to_channels(batch.masks), batch.saliency)
            targets = rules.complete_with_teacher(targets, old, self.settings.threshold)
            return {"bce": summed_bce(logits, targets, reduction="mean_valid", count=forward.count("labelled"))}
        assert batch.saliency is not None
        targets = rules.sats_targets(rules.to_sats_channels(batch.masks), old, batch.saliency, self.settings.threshold)
        return {"bce": summed_bce(logits, targets, reduction="mean_all")}

    def decode(self, logits: Tensor) -> Tensor:
        """Return the label map under the chosen decision rule."""
        return rules.decide(logits) if self._original else rules.decide_sats(logits)
