"""SATS (Pattern Recognition 2023): self-attention transfer by class region (ciss_methods.md 4.11)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from pipeline.losses import attention_transfer, cross_entropy, feature_transfer, unbiased_knowledge_distillation
from pipeline.methods import Forward, register
from pipeline.methods.pseudo_label_method import PseudoLabelMethod, PseudoLabelSettings


class SatsSettings(PseudoLabelSettings):
    """The authors' preset; their weighting of images is computed and never used, so it is off."""

    loss_kd: float = 20.0
    """Weight of unbiased distillation (MiB's option, which SATS kept)."""
    transfer_weight: float = 20.0
    """Weight of attention transfer by class region."""
    ablation_weight: float = 1.0
    """Weight of attention transfer in the variants GP and NP, which the released code does not weigh."""
    feature_weight: float = 0.2
    """Weight of the feature variant, for backbones without attention maps."""
    attention_layout: Literal["aligned", "legacy"] = "aligned"
    """aligned: rows of the map belong to positions; legacy: the released reinterpretation, which mixes heads."""
    variant: Literal["class", "GP", "NP"] = "class"
    """class: pooled by class region; GP: over the whole image; NP: not pooled (the paper's ablation)."""
    median_inf: float = 0.005
    """What an infinite median becomes, in the released code."""
    median_labels: Literal["step", "ids"] = "step"
    """Pixels that thresholds are measured on: step: all that the step labels background; ids: those that are
    background in the data set, without classes of other steps, as released."""
    adaptive: bool = False
    """Off: the released code computes nu and never uses it."""


@register
class Sats(PseudoLabelMethod):
    """CE on pseudo-labels + loss_kd * UNKD + transfer of attention, or of features on a convolutional body.

    Source: SATS (Pattern Recognition 2023); ciss_methods.md 4.11.
    """

    name = "sats"
    title = "SATS"
    Settings = SatsSettings

    @property
    def calibrates_on_ids(self) -> bool:  # type: ignore[override]
        """Whether thresholds are measured on the data set's ids, as `median_labels` says."""
        return bool(self.settings.median_labels == "ids")

    def losses(self, forward: Forward) -> dict[str, Tensor]:
        """Return the three terms."""
        logits, old = forward.logits()
        pseudo, nu = self.targets(forward.batch, old)
        return {
            "ce": (nu * cross_entropy(logits, pseudo, reduction="none")).mean(),
            "unkd": self.settings.loss_kd * unbiased_knowledge_distillation(logits, old),
            "transfer": self._transfer(forward, pseudo),
        }

    def _transfer(self, forward: Forward, labels: Tensor) -> Tensor:
        student, teacher, settings = forward.student, forward.teacher, self.settings
        assert teacher is not None
        if not student.attention:
            return settings.feature_weight * feature_transfer(student.maps, teacher.maps, labels)
        weight = settings.transfer_weight if settings.variant == "class" else settings.ablation_weight
        return weight * attention_transfer(
            student.attention,
            teacher.attention,
            labels,
            layout=settings.attention_layout,
            variant=settings.variant,
        )
