"""RCIL (CVPR 2022): two branches per convolution, one frozen after every step (recent_methods.md 5)."""

from __future__ import annotations

from typing import Any, Literal

import torch.nn.functional as F
from pydantic import field_validator
from torch import Tensor, nn

from pipeline.losses import unbiased_cross_entropy, unbiased_knowledge_distillation
from pipeline.losses.pooled_cube import WINDOWS, pooled_cube
from pipeline.methods import Forward, Method, MethodSettings, register
from pipeline.models.dual import CUTS, dual_convolutions
from pipeline.models.initialise import balanced
from pipeline.models.network import Output, SegmentationModel
from pipeline.models.norm import SLOPE


class RcilSettings(MethodSettings):
    """As released for VOC."""

    loss_kd: float = 100.0
    """Weight of unbiased distillation (MiB's option)."""
    pooled_factor: float = 0.01
    """Weight of the pooled distances of every map but a list's last."""
    last_factor: float = 0.0005
    """Weight of the last map of each list: the logits over space, the head's output over channels."""
    windows: tuple[int, ...] = WINDOWS
    """Sides of the pooling windows over space, in cells of the map."""
    new_branch: Literal["inherit", "merged"] = "inherit"
    """The learning branch at the start of a step: the one before as released, or a copy of the merged branch."""
    init_bias: Literal["random", "balanced"] = "random"
    """Biases of the new classifier: fresh as released, or shared with the background as MiB does."""
    maps: Literal["post", "pre"] = "post"
    """Stage maps after their activation as released, or before it."""
    drop_path: tuple[float, float] = CUTS
    """Below the first a channel sees the frozen branch alone, below the second the learning one, above the mean."""

    @field_validator("windows", "drop_path", mode="before")
    @classmethod
    def _from_list(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value


@register
class Rcil(Method):
    """Unbiased cross-entropy and distillation + pooled distances, on a network of two branches.

    Source: RCIL (CVPR 2022), arXiv 2203.05402; recent_methods.md 5.3 and 5.4.
    """

    name = "rcil"
    title = "RCIL"
    recipe = "ce_dual"
    Settings = RcilSettings

    @classmethod
    def published(cls, dataset: str, task: str, backbone: str) -> dict[str, Any]:
        """Return the factors that the released function has for ADE."""
        return {"pooled_factor": 5e-6, "last_factor": 5e-7} if dataset == "ade" else {}

    @classmethod
    def network_options(cls, settings: Any) -> dict[str, Any]:
        """Return two branches."""
        return {"branches": 2}

    def init_classifier(self, model: SegmentationModel) -> None:
        """Merge both branches into the first, freeze it, and copy the background's weights."""
        for dual in dual_convolutions(model):
            dual.merge(renew=self.settings.new_branch == "merged")
            dual.cuts = self.settings.drop_path
        if self.settings.init_bias == "balanced":
            balanced(model.classifiers)
            return
        first, newest = model.classifiers[0], model.classifiers[-1]
        assert isinstance(first, nn.Conv2d) and isinstance(newest, nn.Conv2d)
        newest.weight.data.copy_(first.weight.data[:1].expand_as(newest.weight))

    def train_mode(self, model: SegmentationModel) -> None:
        """Train, but for the statistics of the frozen branches."""
        model.train()
        for dual in dual_convolutions(model):
            dual.keep_first()

    def losses(self, forward: Forward) -> dict[str, Tensor]:
        """Return the four terms."""
        assert forward.teacher is not None
        logits, old = forward.logits()
        settings = self.settings
        space, channel = pooled_cube(
            self._maps(forward.student),
            self._maps(forward.teacher),
            growth=self.info.n_total / self.info.n_new,
            factor=settings.pooled_factor,
            last_factor=settings.last_factor,
            windows=settings.windows,
        )
        return {
            "unce": unbiased_cross_entropy(logits, forward.batch.masks, self.info.n_old),
            "unkd": settings.loss_kd * unbiased_knowledge_distillation(logits, old),
            "space": space,
            "channel": channel,
        }

    def _maps(self, output: Output) -> list[Tensor]:
        *stages, last = output.maps
        # A transformer's stages end in a norm, which nothing follows.
        if self.settings.maps == "post" and not output.attention:
            stages = [F.leaky_relu(x, SLOPE) for x in stages]
        return [*stages, last, output.logits]
