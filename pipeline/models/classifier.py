"""The classifier that a step adds to the network."""

from __future__ import annotations

from torch import nn

from pipeline.config import nearest

KINDS = ("linear", "conv")


def make_classifier(kind: str, channels: int, n_classes: int) -> nn.Module:
    """Return a classifier of (B, channels, h, w) with `n_classes` outputs, freshly initialised.

    `linear`: one 1x1 convolution with bias, the framework's default start (web_wilss.md 3.6).
    `conv`: 3x3 convolution without bias, batch norm, ReLU, 1x1 convolution with bias, Kaiming-normal weights
    (SSUL, ciss_methods.md 3.4). Raises ValueError for another kind.
    """
    if kind == "linear":
        return nn.Conv2d(channels, n_classes, 1)
    if kind != "conv":
        raise ValueError(f"unknown classifier `{kind}`; {nearest(kind, KINDS)}")
    near = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
    last = nn.Conv2d(channels, n_classes, 1)
    for convolution in (near, last):
        nn.init.kaiming_normal_(convolution.weight)
    return nn.Sequential(near, nn.BatchNorm2d(channels), nn.ReLU(inplace=True), last)


def n_outputs(classifier: nn.Module) -> int:
    """Return the number of outputs of a classifier of either kind."""
    last = classifier[-1] if isinstance(classifier, nn.Sequential) else classifier
    assert isinstance(last, nn.Conv2d)
    return last.out_channels
