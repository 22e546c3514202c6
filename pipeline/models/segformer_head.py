"""Decoders of SegFormer: the linear one released with SATS and the official one (ciss_methods.md 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.network import Features


class SatsHead(nn.Module):
    """A 1x1 convolution per stage, nearest-neighbour upsampling, concatenation, one 1x1 convolution; all linear."""

    takes_features = True

    def __init__(self, dims: Sequence[int], channels: int = 256) -> None:
        super().__init__()
        self.channels = channels
        self.stages = nn.ModuleList(nn.Conv2d(dim, channels, 1) for dim in dims)
        self.fuse = nn.Conv2d(len(dims) * channels, channels, 1)

    def forward(self, features: Features) -> Tensor:
        """Return the decoder's output (B, channels, h, w) at the first stage's resolution."""
        # Nearest-neighbour upsampling commutes with a 1x1 convolution: each stage's slice of the fusing
        # weights is applied at the stage's own resolution, and no map of 4 x channels is ever held.
        slices = self.fuse.weight.split(self.channels, dim=1)
        total = None
        for x, conv, weight in zip(features.maps, self.stages, slices, strict=True):
            part = F.conv2d(conv(x), weight, self.fuse.bias if total is None else None)
            total = part if total is None else total + F.interpolate(part, size=total.shape[-2:], mode="nearest")
        assert total is not None
        return total


class OfficialHead(nn.Module):
    """A 1x1 convolution per stage, bilinear upsampling, concatenation from the last stage to the first, 1x1
    convolution, batch norm, ReLU, dropout of whole channels."""

    takes_features = True

    def __init__(self, dims: Sequence[int], channels: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.channels = channels
        self.stages = nn.ModuleList(nn.Conv2d(dim, channels, 1) for dim in dims)
        self.fuse = nn.Conv2d(len(dims) * channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, features: Features) -> Tensor:
        """Return the decoder's output (B, channels, h, w) at the first stage's resolution."""
        size = features.maps[0].shape[-2:]
        parts = [
            F.interpolate(conv(x), size=size, mode="bilinear", align_corners=False)
            for x, conv in zip(features.maps, self.stages, strict=True)
        ]
        fused = F.relu(self.norm(self.fuse(torch.cat(parts[::-1], dim=1))))
        result: Tensor = self.dropout(fused)
        return result
