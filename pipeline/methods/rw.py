"""RW: Riemannian walk (ECCV 2018), as MiB coded it (ciss_methods.md 4.7)."""

from __future__ import annotations

from pydantic import Field

from pipeline.losses.importance import Importance, RiemannianWalk
from pipeline.methods import MethodSettings, register
from pipeline.methods.importance_method import ImportanceMethod


class RwSettings(MethodSettings):
    """The preset of MiB, PLOP and SATS."""

    reg_importance: float = 100.0
    """Weight of the penalty (MiB's option; lambda of ciss_methods.md 4.7)."""
    decay: float = 0.9
    """Weight of the newest squared gradient (option reg_alpha)."""
    interval: int = Field(10, ge=1)
    """Iterations between two points of the path (option reg_iterations)."""
    normalise: bool = True
    """Scale both importances of each tensor to [0, 1] when a step begins."""


@register
class Rw(ImportanceMethod):
    """CE + reg_importance * sum of (scaled Fisher + scaled path score) times squared movement.

    Source: RW (ECCV 2018); ciss_methods.md 4.7.
    """

    name = "rw"
    title = "RW"
    Settings = RwSettings

    def statistics(self) -> Importance:
        """Return running squared gradients and the path score."""
        return RiemannianWalk(self.settings.decay, self.settings.interval, self.settings.normalise)
