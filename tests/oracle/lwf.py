"""LwF: CE + weight KD, the student renormalised over the O old channels (ciss_methods.md 4.0, 4.2)."""

from __future__ import annotations

import numpy as np

from tests.oracle.ft import cross_entropy
from tests.oracle.pixels import Array, mean_all, softmax


def distillation(z: Array, old: Array, y: Array) -> float:
    """Return the mean over pixels of -(1/O) sum_c q_c log p_c."""
    n_old = old.shape[1]

    def pixel(b: int, i: int, j: int) -> float:
        q, p = softmax(old[b, :, i, j]), softmax(z[b, :n_old, i, j])
        return -float(sum(q[c] * np.log(p[c]) for c in range(n_old))) / n_old

    return mean_all(y, pixel)


def terms(z: Array, old: Array, y: Array, weight: float) -> dict[str, float]:
    """Return both terms."""
    return {"ce": cross_entropy(z, y), "kd": weight * distillation(z, old, y)}
