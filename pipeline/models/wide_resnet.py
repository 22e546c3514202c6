"""Wide-ResNet-38-A2 for dense prediction (web_wilss.md 3.4)."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.network import Features
from pipeline.models.norm import SLOPE
from pipeline.models.resnet import initialise_convolutions


class Stage(NamedTuple):
    """Blocks of one stage: how many, their widths, stride of the first, dilation and channel dropout of all."""

    blocks: int
    widths: tuple[int, ...]
    stride: int = 1
    dilation: int = 1
    dropout: float = 0.0


A2 = (
    Stage(3, (128, 128)),
    Stage(3, (256, 256)),
    Stage(6, (512, 512), stride=2),
    Stage(3, (512, 1024), dilation=2),
    Stage(1, (512, 1024, 2048), dilation=4, dropout=0.3),
    Stage(1, (1024, 2048, 4096), dilation=4, dropout=0.5),
)
"""Modules 2 to 7 of the reference."""


class PreActivationBlock(nn.Module):
    """Norm and activation before each convolution: two 3x3 for two widths, 1x1, 3x3 and 1x1 for three.

    The first convolution carries the stride, every 3x3 the dilation; channel dropout sits before the last.
    A projection takes the activated input, the identity shortcut the raw one.
    """

    def __init__(self, channels_in: int, stage: Stage, stride: int) -> None:
        super().__init__()
        self.depth = len(stage.widths)
        kernels = (3, 3) if self.depth == 2 else (1, 3, 1)
        channels = (channels_in, *stage.widths)
        for index, kernel in enumerate(kernels):
            dilation = stage.dilation if kernel == 3 else 1
            padding = dilation if kernel == 3 else 0
            step = stride if index == 0 else 1
            convolution = nn.Conv2d(channels[index], channels[index + 1], kernel, step, padding, dilation, bias=False)
            setattr(self, f"norm{index + 1}", nn.BatchNorm2d(channels[index]))
            setattr(self, f"conv{index + 1}", convolution)
        self.dropout = nn.Dropout2d(stage.dropout)
        self.projects = stride != 1 or channels_in != channels[-1]
        if self.projects:
            self.project = nn.Conv2d(channels_in, channels[-1], 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        branch = shortcut = x
        for index in range(1, self.depth + 1):
            branch = F.leaky_relu(getattr(self, f"norm{index}")(branch), SLOPE, inplace=True)
            if index == 1 and self.projects:
                shortcut = self.project(branch)
            if index == self.depth:
                branch = self.dropout(branch)
            branch = getattr(self, f"conv{index}")(branch)
        return branch + shortcut


class WideResNetBody(nn.Module):
    """Wide ResNet of pre-activation blocks, 4096 `channels` at `stride` 8.

    The sums that leave the stages are the `maps` (six, of strides 2, 4, 8, 8, 8, 8); `body` is the last of
    them, normalised and activated.
    """

    def __init__(self, stages: tuple[Stage, ...] = A2) -> None:
        super().__init__()
        self.stem = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 64, 3, 1, 1, bias=False)))
        self.stages = nn.ModuleList()
        channels, self.stride = 64, 4
        for stage in stages:
            blocks = nn.ModuleList()
            for index in range(stage.blocks):
                blocks.append(PreActivationBlock(channels, stage, stage.stride if index == 0 else 1))
                channels = stage.widths[-1]
            self.stages.append(blocks)
            self.stride *= stage.stride
        self.channels = channels
        self.norm = nn.BatchNorm2d(channels)
        initialise_convolutions(self)

    def forward(self, images: Tensor) -> Features:
        """Return Features of normalised images (B, 3, H, W)."""
        x = self.stem(images)
        maps = []
        for index, stage in enumerate(self.stages):
            if index < 2:
                x = F.max_pool2d(x, 3, 2, 1)
            assert isinstance(stage, nn.ModuleList)
            for block in stage:
                x = block(x)
            maps.append(x)
        return Features(F.leaky_relu(self.norm(x), SLOPE, inplace=True), tuple(maps), ())
