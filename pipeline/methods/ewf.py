"""EWF (CVPR 2023): after a step of another method, the mean of its weights and the old ones (recent_methods.md 2)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline import distributed
from pipeline.methods import Batch, register
from pipeline.methods.delegate import Delegate, DelegateSettings
from pipeline.models.fusion import distance, fuse, new_share, threshold
from pipeline.models.network import SegmentationModel


class EwfSettings(DelegateSettings):
    """As released; the wrapped method is MiB or PLOP in the paper."""

    count_background: bool = True
    """Whether the background counts among the old classes of alpha."""
    norm_statistics: Literal["fuse", "new", "recompute"] = "fuse"
    """Running statistics: fused as released, the new network's, or measured anew in one pass of training batches."""
    freeze_classifiers: bool = True
    """Train the newest classifier alone of all classifiers (option fix_pre_cls)."""
    threshold_choice: bool = False
    """Fuse only the numbers that moved most (option threshold_choice, off in every released script)."""


@register
class Ewf(Delegate):
    """theta = (1 - alpha) theta_old + alpha theta_new with alpha = sqrt(n / (n + O)), once, at the end of a step.

    Source: EWF (CVPR 2023); recent_methods.md 2.2.
    """

    name = "ewf"
    title = "EWF"
    Settings = EwfSettings

    @classmethod
    def published_base(cls, base: str, dataset: str, task: str) -> dict[str, Any]:
        """Return MiB's weight in the released scripts: 10, and 100 on ADE 100-10 and 100-5."""
        if base != "mib":
            return {}
        return {"loss_kd": 100.0 if dataset == "ade" and task in ("100-10", "100-5") else 10.0}

    @classmethod
    def network_options(cls, settings: Any) -> dict[str, Any]:
        """Return {}. Raises ValueError for a base that rebuilds its network: old and new weights mean other things."""
        found = super().network_options(settings)
        if found:
            raise ValueError(f"ewf cannot fuse the networks of `{settings.base}`, whose branches are merged in between")
        return found

    def init_classifier(self, model: SegmentationModel) -> None:
        """Initialise as the wrapped method does, then freeze every earlier classifier."""
        super().init_classifier(model)
        if self.settings.freeze_classifiers:
            for classifier in list(model.classifiers)[:-1]:
                classifier.requires_grad_(False)

    def finish(
        self,
        model: SegmentationModel,
        teacher: SegmentationModel | None,
        batches: Callable[[], Iterable[Batch]],
    ) -> None:
        """Fuse every tensor that the teacher has; the newest classifier stays."""
        super().finish(model, teacher, batches)
        assert teacher is not None
        old, new = teacher.state_dict(), model.state_dict()
        share = new_share(self.info.n_new, self.info.n_old - (0 if self.settings.count_background else 1))
        if distributed.is_main():
            print(f"ewf: moved by {distance(old, new):.4f} of the old norm, alpha {share:.4f}", file=sys.stderr)
        above = threshold(old, new) if self.settings.threshold_choice else 0.0
        fuse(old, new, share, statistics=self.settings.norm_statistics == "fuse", above=above)
        if self.settings.norm_statistics == "recompute":
            measure_statistics(model, batches())


@torch.no_grad()
def measure_statistics(model: SegmentationModel, batches: Iterable[Batch]) -> None:
    """Set the running statistics of every batch norm to their mean over the batches; frozen norms keep theirs."""
    norms = [norm for norm in model.modules() if isinstance(norm, _BatchNorm)]
    before = [(norm.momentum, {key: value.clone() for key, value in norm.named_buffers()}) for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    model.train()
    for batch in batches:
        model(batch.images)
    for norm, (momentum, buffers) in zip(norms, before, strict=True):
        norm.momentum = momentum
        for key, value in norm.named_buffers():
            if key == "num_batches_tracked" or not int(norm.num_batches_tracked or 0):
                value.copy_(buffers[key])
