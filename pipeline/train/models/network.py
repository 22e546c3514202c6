"""The segmentation network: body -> head -> one 1x1 classifier per step, outputs concatenated."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


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
    `head.channels` channels. `classes_per_step[s]` is the number of outputs added at step s.
    """

    def __init__(self, body: nn.Module, head: nn.Module, classes_per_step: list[int], backbone: str) -> None:
        super().__init__()
        self.backbone = backbone
        self.body = body
        self.head = head
        self.classifiers = nn.ModuleList(nn.Conv2d(channels_of(head), n, 1) for n in classes_per_step)

    @property
    def classes_per_step(self) -> list[int]:
        """Number of outputs of each classifier, in step order."""
        return [int(classifier.out_channels) for classifier in self.classifiers]  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Output:
        """Return Output for normalised images (B, 3, H, W)."""
        features = self.body(images)
        pre_logits = self.head(features.body)
        logits = torch.cat([classifier(pre_logits) for classifier in self.classifiers], dim=1)
        return Output(logits, features.body, (*features.maps, pre_logits), features.attention)
