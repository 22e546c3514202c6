"""LwF-MC: BCE_sum + weight O mean BCE to the teacher's sigmoids, or one BCE in mode disjoint (ciss_methods.md 4.3)."""

from __future__ import annotations

import numpy as np

from tests.oracle.pixels import IGNORED, Array, bce, mean_all, one_hot, sigmoid


def summed(z: Array, y: Array) -> float:
    """Return BCE_sum: summed over channels, mean over all pixels, ignored ones zero."""
    n = z.shape[1]

    def pixel(b: int, i: int, j: int) -> float:
        return float(bce(z[b, :, i, j], one_hot(y[b, i, j], n)).sum()) if y[b, i, j] != IGNORED else 0.0

    return mean_all(y, pixel)


def combined(z: Array, old: Array, y: Array, weight: float) -> dict[str, float]:
    """Return the terms of mode combined."""
    n_old = old.shape[1]
    kd = mean_all(y, lambda b, i, j: float(bce(z[b, :n_old, i, j], sigmoid(old[b, :, i, j])).mean()))
    return {"bce": summed(z, y), "kd": weight * n_old * kd}


def disjoint(z: Array, old: Array, y: Array, background: float) -> dict[str, float]:
    """Return the term of mode disjoint; ignored pixels take part."""
    n, n_old = z.shape[1], old.shape[1]

    def pixel(b: int, i: int, j: int) -> float:
        goal, taught = one_hot(y[b, i, j], n), sigmoid(old[b, :, i, j])
        first = min(goal[0], taught[0]) if background == -1 else background * goal[0] + (1 - background) * taught[0]
        return float(bce(z[b, :, i, j], np.concatenate([[first], taught[1:], goal[n_old:]])).sum())

    return {"icarl": mean_all(y, pixel)}
