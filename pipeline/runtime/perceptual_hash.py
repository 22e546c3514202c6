"""What an image looks like in 64 bits. Processes that decode hostile bytes import this: NumPy and Pillow alone."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ENOUGH = 90
"""Pixels a side from which the hash is taken; averaging blocks down to them changes hardly a bit."""
_SIDE = 32
_COSINES = np.cos(np.pi / _SIDE * np.outer(np.arange(8), np.arange(_SIDE) + 0.5))


def perceptual_hash(image: Image.Image) -> str:
    """Return the 64-bit pHash in hex: the signs of the lowest 8 x 8 cosine coefficients against their median."""
    width, height = (max(1, pixels // ENOUGH) for pixels in image.size)
    grey = image.convert("L")
    if width * height > 1:
        grey = grey.reduce((width, height))
    across, down = _waves(grey.width, image.width / width), _waves(grey.height, image.height / height)
    # Rounded: what is zero but for the last bits of a float would be decided by chance.
    low = (down @ np.asarray(grey, np.float64) @ across.T).ravel().round(6)
    ranked = np.sort(low)
    return np.packbits(low > (ranked[31] + ranked[32]) / 2).tobytes().hex()


@lru_cache(512)
def _waves(pixels: int, span: float) -> NDArray[np.float64]:
    # Lanczos resampling of `pixels` that cover `span` to _SIDE, and the cosines after it, are one matrix: 8 x pixels.
    scale = span / _SIDE
    offset = (np.arange(pixels) + 0.5 - (np.arange(_SIDE)[:, None] + 0.5) * scale) / max(scale, 1.0)
    lanczos = np.where(np.abs(offset) < 3, np.sinc(offset) * np.sinc(offset / 3), 0.0)
    waves: NDArray[np.float64] = _COSINES @ (lanczos / lanczos.sum(axis=1, keepdims=True))
    return waves
