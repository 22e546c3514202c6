"""Joint training: images and true labels of every step so far. The upper bound, not a continual method."""

from __future__ import annotations

from typing import Any

from torch import nn

from pipeline.methods import Method, MethodSettings, register
from pipeline.models.network import SegmentationModel


class JointSettings(MethodSettings):
    """The papers train all classes at once at the rate of step 0, ten times that of later steps."""

    lr_factor: float = 10.0
    """Learning rate as a multiple of the step's."""


@register
class Joint(Method):
    """Cross-entropy with all classes labelled, from the same base and for as many iterations as the others.

    Source: upper bound of MiB (CVPR 2020); ciss_methods.md 7.
    """

    name = "joint"
    title = "joint"
    sees = "all"
    needs_teacher = False
    Settings = JointSettings

    def param_groups(self, model: SegmentationModel, extra: nn.Module | None, lr: float) -> list[dict[str, Any]]:
        """Return every parameter at the rate of step 0."""
        return super().param_groups(model, extra, lr * self.settings.lr_factor)
