"""Large images piece by piece: tiles that overlap, their logits blended."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

Tile = tuple[int, int]
"""Top, left."""


def starts(side: int, tile: int, overlap: int) -> list[int]:
    """Return where tiles begin along a side: as few as cover it with at least `overlap` between, evenly spaced."""
    if side <= tile:
        return [0]
    count = -(-(side - overlap) // (tile - overlap))
    return [round(i * (side - tile) / (count - 1)) for i in range(count)]


def rows_of_tiles(height: int, width: int, tile: int, overlap: int) -> Iterator[list[Tile]]:
    """Yield the tiles of an image, a row of them at a time from the top."""
    for top in starts(height, tile, overlap):
        yield [(top, left) for left in starts(width, tile, overlap)]


def ramp(height: int, width: int, overlap: int) -> Tensor:
    """Return a tile's weights (height, width): they fall off linearly over `overlap` pixels towards each edge."""

    def along(side: int) -> Tensor:
        position = torch.arange(side, dtype=torch.float32) + 1
        return torch.minimum(position, position.flip(0)).clamp(max=overlap + 1) / (overlap + 1)

    return along(height)[:, None] * along(width)[None, :]


class Band:
    """Weighted logits (N, h, W) of the rows that further tiles may still touch."""

    def __init__(self, channels: int, width: int, device: torch.device) -> None:
        self._device, self._channels, self._width = device, channels, width
        self._top = 0
        self._sum = torch.zeros(channels, 0, width, device=device)
        self._weight = torch.zeros(0, width, device=device)

    def add(self, tile: Tile, logits: Tensor, weight: Tensor) -> None:
        """Add a tile's logits (N, h, w) under weights (h, w)."""
        top, left = tile[0] - self._top, tile[1]
        height, width = weight.shape
        lacking = top + height - self._weight.shape[0]
        if lacking > 0:
            self._sum = torch.cat([self._sum, self._sum.new_zeros(self._channels, lacking, self._width)], dim=1)
            self._weight = torch.cat([self._weight, self._weight.new_zeros(lacking, self._width)])
        self._sum[:, top : top + height, left : left + width] += logits * weight
        self._weight[top : top + height, left : left + width] += weight

    def finish(self, bottom: int) -> Tensor:
        """Return the logits (N, h, W) of all rows above `bottom` and forget them."""
        count = bottom - self._top
        done = self._sum[:, :count] / self._weight[:count]
        self._sum, self._weight = self._sum[:, count:], self._weight[count:]
        self._top = bottom
        return done
