"""ILT (ICCVW 2019), the combined variant of MiB's code: distil outputs and body features (ciss_methods.md 4.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pipeline.losses import cross_entropy, feature_mse, knowledge_distillation
from pipeline.methods import Forward, Method, is_segformer, register


@dataclass(frozen=True)
class IltSettings:
    """MiB's and PLOP's preset for DeepLab."""

    weight: float = 100.0
    """Weight of output distillation (option loss_kd)."""
    feature_weight: float = 100.0
    """Weight of the mean squared error of body features (option loss_de)."""


@register
class Ilt(Method):
    """CE + weight * KD + feature_weight * MSE(body).

    Source: ILT (ICCVW 2019); ciss_methods.md 4.4.
    """

    name = "ilt"
    title = "ILT"
    Settings = IltSettings

    @classmethod
    def published(cls, dataset: str, task: str, backbone: str) -> dict[str, Any]:
        """Return 10 and 10 on SegFormer, SATS's preset."""
        return {"weight": 10.0, "feature_weight": 10.0} if is_segformer(backbone) else {}

    def losses(self, forward: Forward) -> dict[str, Tensor]:
        """Return cross-entropy and both distillations."""
        assert forward.teacher is not None
        logits, old = forward.logits()
        return {
            "ce": cross_entropy(logits, forward.batch.masks),
            "kd": self.settings.weight * knowledge_distillation(logits, old),
            "features": self.settings.feature_weight * feature_mse(forward.student.body, forward.teacher.body),
        }
