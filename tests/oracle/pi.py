"""PI: omega adds g (theta_before - theta) at every call but the first (ciss_methods.md 4.6)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.oracle.ewc import scaled
from tests.oracle.pixels import Array


def score(values: Sequence[Array], gradients: Sequence[Array]) -> Array:
    """Return max(0, omega / (movement^2 + 1e-20)) of a first step."""
    omega = sum(g * (before - now) for before, now, g in zip(values, values[1:], gradients[1:], strict=False))
    return np.maximum(0, omega / ((values[-1] - values[0]) ** 2 + 1e-20))


def penalty(weight: float, values: Sequence[Array], gradients: Sequence[Array], start: Array, now: Array) -> float:
    """Return the next step's penalty for one tensor."""
    return weight * float((scaled(score(values, gradients)) * (now - start) ** 2).sum())
