"""FT, joint, DFT and the base recipe `ce`: CE(z, y), ignored pixels count as zero (ciss_methods.md 4.0, 4.1)."""

from __future__ import annotations

import numpy as np

from tests.oracle.pixels import IGNORED, Array, mean_all, softmax


def cross_entropy(z: Array, y: Array) -> float:
    """Return mean_all of -log p_y."""
    return mean_all(y, lambda b, i, j: 0.0 if y[b, i, j] == IGNORED else -np.log(softmax(z[b, :, i, j])[y[b, i, j]]))


def terms(z: Array, y: Array) -> dict[str, float]:
    """Return the one term."""
    return {"ce": cross_entropy(z, y)}
