"""LwF (ECCV 2016) as MiB coded it for segmentation: distil the old classes' softmax (ciss_methods.md 4.2)."""

from __future__ import annotations

from torch import Tensor

from pipeline.losses import cross_entropy, knowledge_distillation
from pipeline.methods import Forward, Method, MethodSettings, register


class LwfSettings(MethodSettings):
    """MiB's preset, which PLOP and SATS kept."""

    loss_kd: float = 100.0
    """Weight of the distillation (MiB's option); the class average inside it is part of the number."""


@register
class Lwf(Method):
    """CE + loss_kd * KD over the old channels.

    Source: LwF (ECCV 2016); ciss_methods.md 4.2.
    """

    name = "lwf"
    title = "LwF"
    Settings = LwfSettings

    def losses(self, forward: Forward) -> dict[str, Tensor]:
        """Return cross-entropy and distillation."""
        logits, old = forward.logits()
        return {
            "ce": cross_entropy(logits, forward.batch.masks),
            "kd": self.settings.loss_kd * knowledge_distillation(logits, old),
        }
