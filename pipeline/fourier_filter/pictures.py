"""The one decode and resize path that images of both domains go through."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pipeline.datasets.images import open_image
from pipeline.runtime.progress import Progress


def load_square(image: Image.Image, side: int) -> NDArray[np.uint8]:
    """Return (side, side, 3): the shorter side resized to `side` (bilinear, antialiased), centre crop.

    Shrinking below the native size averages over the JPEG grid, so that block edges and the encoder's
    quality leave no line in the spectrum that one domain could be told by.
    """
    width, height = image.size
    scale = side / min(width, height)
    new = (max(side, round(width * scale)), max(side, round(height * scale)))
    image = image.convert("RGB").resize(new, Image.Resampling.BILINEAR)
    left, top = (new[0] - side) // 2, (new[1] - side) // 2
    return np.asarray(image.crop((left, top, left + side, top + side)))


def load_all(uris: Sequence[str], side: int, label: str) -> Tensor:
    """Return uint8 (N, 3, side, side) of images by reference."""
    out = torch.empty(len(uris), 3, side, side, dtype=torch.uint8)
    progress = Progress(label, len(uris))
    for index, uri in enumerate(uris):
        out[index] = torch.from_numpy(load_square(open_image(uri), side).copy()).permute(2, 0, 1)
        progress.update()
    return out


def centre(pictures: Tensor, crop: int) -> Tensor:
    """Return float (N, 3, crop, crop) in [0, 1] from the middle of uint8 pictures."""
    start = (pictures.shape[-1] - crop) // 2
    return pictures[..., start : start + crop, start : start + crop].float() / 255


def augment(pictures: Tensor, crop: int, generator: torch.Generator) -> Tensor:
    """Return float (N, 3, crop, crop) in [0, 1]: one random crop for the batch, each image flipped by chance."""
    room = pictures.shape[-1] - crop + 1
    top, left = (int(torch.randint(room, (1,), generator=generator)) for _ in range(2))
    part = pictures[..., top : top + crop, left : left + crop].float() / 255
    flips = torch.rand(len(part), generator=generator) < 0.5
    part[flips] = part[flips].flip(-1)
    return part
