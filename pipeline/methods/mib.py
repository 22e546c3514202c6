"""MiB (CVPR 2020): cross-entropy and distillation that model the background's shift (ciss_methods.md 4.8)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from pipeline.losses import unbiased_cross_entropy, unbiased_knowledge_distillation
from pipeline.methods import Forward, Method, MethodSettings, is_segformer, register
from pipeline.models.initialise import balanced
from pipeline.models.network import SegmentationModel


class MibSettings(MethodSettings):
    """The authors' preset for DeepLab."""

    loss_kd: float = 10.0
    """Weight of the distillation (the authors' option)."""
    init_balanced: bool = True
    """Start the new classifier from the background's."""


@register
class Mib(Method):
    """Unbiased cross-entropy (eq. 5) + loss_kd * unbiased distillation (eq. 8), balanced initialisation (eq. 9).

    Source: MiB (CVPR 2020) eq. 5, 8 and 9; ciss_methods.md 4.8.
    """

    name = "mib"
    title = "MiB"
    Settings = MibSettings

    @classmethod
    def published(cls, dataset: str, task: str, backbone: str) -> dict[str, Any]:
        """Return 100 on VOC 15-1, as the authors state in their issue tracker; 40 on SegFormer, SATS's preset."""
        if is_segformer(backbone):
            return {"loss_kd": 40.0}
        return {"loss_kd": 100.0} if task in ("15-1", "15-5s") and dataset != "ade" else {}

    def init_classifier(self, model: SegmentationModel) -> None:
        """Share the background's probability with the new classes."""
        if self.settings.init_balanced:
            balanced(model.classifiers)

    def losses(self, forward: Forward) -> dict[str, Tensor]:
        """Return both unbiased terms; every old label counts as background, an exemplar's too."""
        logits, old = forward.logits()
        return {
            "unce": unbiased_cross_entropy(logits, forward.batch.masks, self.info.n_old),
            "unkd": self.settings.loss_kd * unbiased_knowledge_distillation(logits, old),
        }
