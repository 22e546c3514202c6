"""PI: path integral, or synaptic intelligence (ICML 2017), as MiB coded it (ciss_methods.md 4.6)."""

from __future__ import annotations

from typing import Any

from pipeline.losses.importance import Importance, PathIntegral
from pipeline.methods import MethodSettings, is_segformer, register
from pipeline.methods.importance_method import ImportanceMethod


class PiSettings(MethodSettings):
    """MiB's preset for VOC and DeepLab; PLOP's and SATS's code has 100."""

    reg_importance: float = 500.0
    """Weight of the penalty (MiB's option; lambda of ciss_methods.md 4.6)."""
    normalise: bool = True
    """Scale each tensor's importance to [0, 1] when a step begins."""


@register
class Pi(ImportanceMethod):
    """CE + reg_importance * sum of scaled path scores times squared movement.

    Source: SI (ICML 2017); ciss_methods.md 4.6.
    """

    name = "pi"
    title = "PI"
    Settings = PiSettings

    @classmethod
    def published(cls, dataset: str, task: str, backbone: str) -> dict[str, Any]:
        """Return 100 on SegFormer."""
        return {"reg_importance": 100.0} if is_segformer(backbone) else {}

    def statistics(self) -> Importance:
        """Return the path integral of the loss per parameter."""
        return PathIntegral(self.settings.normalise)
