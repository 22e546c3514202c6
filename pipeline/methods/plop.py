"""PLOP (CVPR 2021): local POD distillation and entropy-based pseudo-labels (ciss_methods.md 4.9)."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

from pipeline.losses import cross_entropy, local_pod
from pipeline.methods import Forward, register
from pipeline.methods.pseudo_label_method import PseudoLabelMethod, PseudoLabelSettings


class PlopSettings(PseudoLabelSettings):
    """The authors' VOC preset."""

    pod_factor: float = 0.01
    """Weight of POD on the stage maps and the head's output."""
    logits_factor: float = 0.0005
    """Weight of POD on the logits."""
    fold: Literal["sum", "trim"] = "sum"
    """How the student's new channels meet the teacher's logits: sum into the background, or trim."""
    pod_cut: Literal["sides", "width"] = "sides"
    """Cells of maps that are not square: each side cut by its own length, or both by the width, as released."""


@register
class Plop(PseudoLabelMethod):
    """Adaptive CE on pseudo-labels + local POD on stage maps, head output and logits.

    Source: PLOP (CVPR 2021); ciss_methods.md 4.9.
    """

    name = "plop"
    title = "PLOP"
    Settings = PlopSettings

    @classmethod
    def published(cls, dataset: str, task: str, backbone: str) -> dict[str, Any]:
        """Return the smaller factors of the ADE scripts."""
        return {"pod_factor": 0.001, "logits_factor": 0.00001} if dataset == "ade" else {}

    def losses(self, forward: Forward) -> dict[str, Tensor]:
        """Return cross-entropy on completed labels, and POD."""
        assert forward.teacher is not None
        student, teacher = forward.student, forward.teacher
        logits, old = forward.logits()
        pseudo, nu = self.targets(forward.batch, old)
        values = cross_entropy(logits, pseudo, reduction="none")
        pod = local_pod(
            [*student.maps, student.logits],
            [*teacher.maps, teacher.logits],
            factor=self.settings.pod_factor,
            logits_factor=self.settings.logits_factor,
            growth=self.info.n_total / self.info.n_new,
            fold=self.settings.fold,
            cut=self.settings.pod_cut,
        )
        return {"ce": (nu * values).mean(), "pod": pod}
