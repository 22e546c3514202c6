"""A small convolutional body and head that train from scratch on two CPU cores.

Batch norm with leaky ReLU 0.01 as in the reference networks (web_wilss.md 3.2). Four stages; the
deepest context is brought back to stride 8 (or 4) by a top-down path, so that a weakly supervised
localizer has a map fine enough to draw on.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.network import Features
from pipeline.models.norm import SLOPE, norm_act
from pipeline.models.pooling import pooled_context
from pipeline.models.registry import Parts, register

__all__ = ["SmallBody", "SmallHead", "norm_act"]


class _Residual(nn.Module):
    dual_groups = ((("branch.0",), "branch.1.0"), (("branch.2",), "branch.3"))

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False),
            norm_act(channels),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.branch(x) + self.shortcut(x)
        return total


class SmallBody(nn.Module):
    """Four residual stages with a top-down path; `channels` outputs at `stride`."""

    dual_groups = ((("stem.0",), "stem.1.0"),)

    def __init__(self, widths: tuple[int, int, int, int] = (32, 48, 96, 160), stride: int = 4) -> None:
        super().__init__()
        self.stride = stride
        self.channels = 96
        self.stem = nn.Sequential(nn.Conv2d(3, widths[0], 3, 2, 1, bias=False), norm_act(widths[0]))
        self.stages = nn.ModuleList(
            [
                _Residual(widths[0], widths[1], 2),
                _Residual(widths[1], widths[2], 2),
                _Residual(widths[2], widths[3], 2),
                _Residual(widths[3], widths[3], 1),
            ]
        )
        self.lateral = nn.ModuleList(nn.Conv2d(w, self.channels, 1, bias=False) for w in (*widths[1:], widths[3]))
        self.out = norm_act(self.channels)

    def forward(self, images: Tensor) -> Features:
        """Return Features of normalised images (B, 3, H, W)."""
        x = self.stem(images)
        maps = []
        for stage in self.stages:
            summed = stage(x)
            maps.append(summed)
            x = F.leaky_relu(summed, SLOPE)
        top = self.lateral[3](F.leaky_relu(maps[3], SLOPE)) + self.lateral[2](F.leaky_relu(maps[2], SLOPE))
        levels = (1,) if self.stride == 8 else (1, 0)
        for level in levels:
            fine = F.leaky_relu(maps[level], SLOPE)
            top = F.interpolate(top, size=fine.shape[-2:], mode="bilinear", align_corners=False)
            top = top + self.lateral[level](fine)
        return Features(self.out(top), tuple(maps), ())


class SmallHead(nn.Module):
    """A 3x3 convolution and the pooled context, summed; `channels` outputs.

    `window` is the side of a training crop's feature map (24 for a 96 crop at stride 4).
    """

    dual_groups = ((("near",), ""),)

    def __init__(self, channels_in: int, channels: int = 96, window: int = 24) -> None:
        super().__init__()
        self.channels, self.window = channels, window
        self.near = nn.Conv2d(channels_in, channels, 3, 1, 1, bias=False)
        self.pooled = nn.Conv2d(channels_in, channels, 1, bias=False)
        self.out = norm_act(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return pre-logits (B, channels, h, w)."""
        context = self.pooled(pooled_context(x, self.window, self.training))
        result: Tensor = self.out(self.near(x) + context)
        return result


@register("small_cnn")
def _small_cnn() -> Parts:
    body = SmallBody()
    return body, SmallHead(body.channels)
