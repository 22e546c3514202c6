"""LwF-MC: iCaRL's binary losses (CVPR 2017) without exemplars (ciss_methods.md 4.3)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from pipeline.losses import icarl_combined, icarl_disjoint, summed_bce
from pipeline.methods import Forward, Method, MethodSettings, register


class LwfMcSettings(MethodSettings):
    """MiB's preset, which PLOP and SATS kept."""

    icarl_importance: float = 10.0
    """Weight of the distillation summed over old channels (MiB's option)."""
    mode: Literal["combined", "disjoint"] = "combined"
    """combined: labels everywhere plus distillation, as published; disjoint: old channels from the teacher alone."""
    background: float = 0.0
    """disjoint mode: share of the label in the background target, -1 for the minimum (option icarl_bkg)."""


@register
class LwfMc(Method):
    """BCE summed over channels + icarl_importance * O * BCE to the teacher's sigmoids.

    Source: iCaRL (CVPR 2017); ciss_methods.md 4.3.
    """

    name = "lwf_mc"
    title = "LwF-MC"
    recipe = "bce"
    Settings = LwfMcSettings

    def losses(self, forward: Forward) -> dict[str, Tensor]:
        """Return the terms of the chosen mode."""
        masks = forward.batch.masks
        logits, old = forward.logits()
        if self.settings.mode == "disjoint":
            return {"icarl": icarl_disjoint(logits, masks, old, self.settings.background)}
        return {"bce": summed_bce(logits, masks), "kd": self.settings.icarl_importance * icarl_combined(logits, old)}
