"""Noise with the 1/f spectrum of natural images, cut from tiles that are made once per process."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

TILE = 512
_TILES = 6


@lru_cache(maxsize=32)
def _tile(index: int, slope: float) -> NDArray[np.float32]:
    # Amplitude falls as f^-slope; natural images have slopes near 1. Tiles are periodic by construction.
    rng = np.random.default_rng((0x7E87, index, round(slope * 100)))
    fy, fx = np.meshgrid(np.fft.fftfreq(TILE), np.fft.rfftfreq(TILE), indexing="ij")
    radius = np.hypot(fy, fx)
    radius[0, 0] = 1.0
    phase = rng.uniform(0, 2 * np.pi, radius.shape)
    spectrum = radius**-slope * np.exp(1j * phase)
    spectrum[0, 0] = 0
    field = np.fft.irfft2(spectrum, s=(TILE, TILE))
    return (field / field.std()).astype(np.float32)


def noise(rng: np.random.Generator, height: int, width: int, slope: float = 1.0) -> NDArray[np.float32]:
    """Return (height, width) noise of zero mean and unit deviation over the tile, amplitude ~ f^-slope."""
    tile = _tile(int(rng.integers(_TILES)), slope)
    rows = (int(rng.integers(TILE)) + np.arange(height)) % TILE
    columns = (int(rng.integers(TILE)) + np.arange(width)) % TILE
    patch = tile[rows[:, None], columns[None, :]]
    return patch[:, ::-1] if rng.random() < 0.5 else patch
