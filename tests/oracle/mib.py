"""MiB: UNCE + weight UNKD (CVPR 2020 eq. 5 and 8; ciss_methods.md 4.0, 4.8)."""

from __future__ import annotations

import numpy as np

from tests.oracle.pixels import IGNORED, Array, mean_all, softmax


def classification(z: Array, y: Array, n_old: int) -> float:
    """Return UNCE: a label below O stands for any old class."""

    def pixel(b: int, i: int, j: int) -> float:
        p, label = softmax(z[b, :, i, j]), y[b, i, j]
        if label == IGNORED:
            return 0.0
        return -float(np.log(p[:n_old].sum() if label < n_old else p[label]))

    return mean_all(y, pixel)


def distillation(z: Array, old: Array, y: Array) -> float:
    """Return UNKD: the old background faces background and new classes together."""
    n_old = old.shape[1]

    def pixel(b: int, i: int, j: int) -> float:
        p, q = softmax(z[b, :, i, j]), softmax(old[b, :, i, j])
        value = q[0] * np.log(p[0] + p[n_old:].sum()) + sum(q[c] * np.log(p[c]) for c in range(1, n_old))
        return -float(value) / n_old

    return mean_all(y, pixel)


def terms(z: Array, old: Array, y: Array, weight: float) -> dict[str, float]:
    """Return both terms."""
    return {"unce": classification(z, y, old.shape[1]), "unkd": weight * distillation(z, old, y)}
