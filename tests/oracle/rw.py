"""RW: EWC's F, and a path score at every tenth call, before that call's F (ciss_methods.md 4.7)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.oracle.ewc import fisher, scaled
from tests.oracle.pixels import Array


def score(values: Sequence[Array], gradients: Sequence[Array], interval: int = 10) -> Array:
    """Return max(0, r) of a first step."""
    r = np.zeros_like(values[0])
    for k in range(interval, len(values), interval):
        moved = values[k] - values[k - interval]
        r = r - gradients[k] * moved / (0.5 * fisher(gradients[:k]) * moved**2 + 1e-8)
    return np.maximum(0, r)


def penalty(weight: float, values: Sequence[Array], gradients: Sequence[Array], start: Array, now: Array) -> float:
    """Return the next step's penalty for one tensor."""
    importance = scaled(fisher(gradients)) + scaled(score(values, gradients))
    return weight * float((importance * (now - start) ** 2).sum())
