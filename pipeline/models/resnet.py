"""ResNet bodies for dense prediction (web_wilss.md 3.3, ciss_methods.md 3.1)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.network import Features
from pipeline.models.norm import SLOPE

LAYERS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
_PLANS = {16: ((1, 2, 2, 1), (1, 1, 1, 2)), 8: ((1, 2, 1, 1), (1, 1, 2, 4))}
"""Output stride -> stride of the first block and dilation of all blocks, for each of the four stages."""


class Bottleneck(nn.Module):
    """1x1, 3x3 (stride, dilation), 1x1 with batch norm; returns the sum with the shortcut, not activated."""

    dual_groups = ((("conv2",), "norm2"),)

    def __init__(self, channels_in: int, width: int, stride: int, dilation: int, slope: float) -> None:
        super().__init__()
        channels, self.slope = 4 * width, slope
        self.conv1 = nn.Conv2d(channels_in, width, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, dilation, dilation, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, channels, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(channels)
        self.projects = stride != 1 or channels_in != channels
        if self.projects:
            self.project = nn.Conv2d(channels_in, channels, 1, stride, bias=False)
            self.project_norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        branch = F.leaky_relu(self.norm1(self.conv1(x)), self.slope, inplace=True)
        branch = F.leaky_relu(self.norm2(self.conv2(branch)), self.slope, inplace=True)
        shortcut = self.project_norm(self.project(x)) if self.projects else x
        total: Tensor = self.norm3(self.conv3(branch)) + shortcut
        return total


class ResNetBody(nn.Module):
    """ResNet with bottlenecks, 2048 `channels` at `stride` 16 or 8.

    The stages' last sums before activation are the `maps`; for a 512 crop at stride 16 they have
    (256, 128²), (512, 64²), (1024, 32²) and (2048, 32²) elements; `body` is the last of them, activated.
    `slope` 0 gives ReLU. `late_dilation` dilates a stage from its second block on only, as torchvision does.
    """

    def __init__(
        self, layers: Sequence[int], stride: int = 16, slope: float = SLOPE, late_dilation: bool = False
    ) -> None:
        super().__init__()
        if stride not in _PLANS:
            raise ValueError(f"a ResNet of output stride {stride} does not exist, expected 8 or 16")
        self.stride, self.channels, self.slope = stride, 2048, slope
        self.stem = nn.Sequential(
            OrderedDict(conv=nn.Conv2d(3, 64, 7, 2, 3, bias=False), norm=nn.BatchNorm2d(64)),
        )
        self.stages = nn.ModuleList()
        channels, before = 64, 1
        for index, (count, step, dilation) in enumerate(zip(layers, *_PLANS[stride], strict=True)):
            width = 64 * 2**index
            first = before if late_dilation else dilation
            blocks = [Bottleneck(channels, width, step, first, slope)]
            blocks += [Bottleneck(4 * width, width, 1, dilation, slope) for _ in range(count - 1)]
            self.stages.append(nn.ModuleList(blocks))
            channels, before = 4 * width, dilation
        initialise_convolutions(self)

    def forward(self, images: Tensor) -> Features:
        """Return Features of normalised images (B, 3, H, W)."""
        x = F.max_pool2d(F.leaky_relu(self.stem(images), self.slope, inplace=True), 3, 2, 1)
        maps = []
        for stage in self.stages:
            assert isinstance(stage, nn.ModuleList)
            for index, block in enumerate(stage):
                summed = block(x)
                # The stage's last sum is handed out, so it must survive the activation.
                x = F.leaky_relu(summed, self.slope, inplace=index + 1 < len(stage))
            maps.append(summed)
        return Features(x, tuple(maps), ())


def initialise_convolutions(body: nn.Module) -> None:
    """Start a body's convolutions from He et al. (ICCV 2015), fan-out, for training without ImageNet weights."""
    for module in body.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
