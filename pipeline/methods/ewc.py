"""EWC (PNAS 2017) as MiB coded it: hold parameters that mattered for old classes (ciss_methods.md 4.5)."""

from __future__ import annotations

from typing import Any

from pipeline.losses.importance import EWC, Importance
from pipeline.methods import MethodSettings, is_segformer, register
from pipeline.methods.importance_method import ImportanceMethod


class EwcSettings(MethodSettings):
    """MiB's preset for VOC and DeepLab; PLOP's and SATS's code has 100."""

    reg_importance: float = 500.0
    """Weight of the penalty (MiB's option; lambda of ciss_methods.md 4.5)."""
    decay: float = 0.9
    """Weight of the newest squared gradient (option reg_alpha); the past fades within a few iterations."""
    normalise: bool = True
    """Scale each tensor's importance to [0, 1] when a step begins."""


@register
class Ewc(ImportanceMethod):
    """CE + reg_importance * sum of scaled Fisher values times squared movement.

    Source: EWC (PNAS 2017); ciss_methods.md 4.5.
    """

    name = "ewc"
    title = "EWC"
    Settings = EwcSettings

    @classmethod
    def published(cls, dataset: str, task: str, backbone: str) -> dict[str, Any]:
        """Return 100 on SegFormer."""
        return {"reg_importance": 100.0} if is_segformer(backbone) else {}

    def statistics(self) -> Importance:
        """Return running squared gradients."""
        return EWC(self.settings.decay, self.settings.normalise)
