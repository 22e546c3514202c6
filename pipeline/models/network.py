"""The segmentation network: body -> head -> one classifier per step, outputs concatenated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pipeline.models.classifier import make_classifier, n_outputs
from pipeline.models.log_odds import checked_channels, with_log_odds


class Features(NamedTuple):
    """What a body returns: `body` (B, C, h, w), stage `maps` before activation, `attention` maps or ()."""

    body: Tensor
    maps: tuple[Tensor, ...]
    attention: tuple[Tensor, ...]


class Output(NamedTuple):
    """Result of a forward pass.

    logits: (B, N, h, w) at feature resolution, channels in step order.
    body: (B, C, h, w), the features that head and localizer share.
    maps: the stage maps and, last, the head's output (for POD distillation).
    attention: per stage (B, heads, queries, keys), empty for convolutional bodies.
    """

    logits: Tensor
    body: Tensor
    maps: tuple[Tensor, ...]
    attention: tuple[Tensor, ...]


def channels_of(module: nn.Module) -> int:
    """Return the number of output channels that a body or head declares."""
    channels = module.channels
    assert isinstance(channels, int)
    return channels


class SegmentationModel(nn.Module):
    """Body, head and growing classifiers (ciss_methods.md 1.3, web_wilss.md 3.6).

    `body` must offer `channels` and `stride` and return Features; `head` maps body features to
    `head.channels` channels, or all Features if it declares `takes_features = True` (SegFormer).
    `classes_per_step[s]` is the number of outputs added at step s, `classifier` their kind (classifier.py);
    `backbone` and `options` say what body and head were built from; the option `log_odds: n` turns the first n
    channels, trained under a softmax, into sigmoid logits (log_odds.py). Raises ValueError for an unknown kind.
    """

    def __init__(
        self,
        body: nn.Module,
        head: nn.Module,
        classes_per_step: Sequence[int],
        backbone: str,
        classifier: str = "linear",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier
        self.options = dict(options or {})
        self.body = body
        self.head = head
        self.classifiers = nn.ModuleList(make_classifier(classifier, channels_of(head), n) for n in classes_per_step)
        self.log_odds = checked_channels(self.options.get("log_odds", 0), sum(classes_per_step))

    @property
    def classes_per_step(self) -> list[int]:
        """Number of outputs of each classifier, in step order."""
        return [n_outputs(classifier) for classifier in self.classifiers]

    def forward(self, images: Tensor) -> Output:
        """Return Output for normalised images (B, 3, H, W)."""
        features = self.body(images)
        pre_logits = self.head(features if getattr(self.head, "takes_features", False) else features.body)
        logits = torch.cat([classifier(pre_logits) for classifier in self.classifiers], dim=1)
        if self.log_odds:
            logits = with_log_odds(logits, self.log_odds)
        return Output(logits, features.body, (*features.maps, pre_logits), features.attention)
