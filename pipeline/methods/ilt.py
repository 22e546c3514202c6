"""ILT (ICCVW 2019), the combined variant of MiB's code: distil outputs and body features (ciss_methods.md 4.4)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from pipeline.losses import cross_entropy, feature_mse, knowledge_distillation
from pipeline.methods import Forward, Method, MethodSettings, is_segformer, register


class IltSettings(MethodSettings):
    """MiB's and PLOP's preset for DeepLab."""

    loss_kd: float = 100.0
    """Weight of output distillation (MiB's option)."""
    loss_de: float = 100.0
    """Weight of the mean squared error of body features (MiB's option)."""


@register
class Ilt(Method):
    """CE + loss_kd * KD + loss_de * MSE(body).

    Source: ILT (ICCVW 2019); ciss_methods.md 4.4.
    """

    name = "ilt"
    title = "ILT"
    Settings = IltSettings

    @classmethod
    def published(cls, dataset: str, task: str, backbone: str) -> dict[str, Any]:
        """Return 10 and 10 on SegFormer, SATS's preset."""
        return {"loss_kd": 10.0, "loss_de": 10.0} if is_segformer(backbone) else {}

    def losses(self, forward: Forward) -> dict[str, Tensor]:
        """Return cross-entropy and both distillations."""
        assert forward.teacher is not None
        logits, old = forward.logits()
        return {
            "ce": cross_entropy(logits, forward.batch.masks),
            "kd": self.settings.loss_kd * knowledge_distillation(logits, old),
            "features": self.settings.loss_de * feature_mse(forward.student.body, forward.teacher.body),
        }
