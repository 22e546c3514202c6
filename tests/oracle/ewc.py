"""EWC: F <- 0.9 g^2 + 0.1 F from 1; the next step is held by the scaled F (ciss_methods.md 4.5)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.oracle.pixels import Array


def scaled(x: Array) -> Array:
    """Return the tensor's values between 0 and 1."""
    return (x - x.min()) / (x.max() - x.min() + 1e-8)


def fisher(gradients: Sequence[Array], decay: float = 0.9) -> Array:
    """Return F after these gradients."""
    f = np.ones_like(gradients[0])
    for g in gradients:
        f = decay * g**2 + (1 - decay) * f
    return f


def penalty(weight: float, gradients: Sequence[Array], start: Array, now: Array) -> float:
    """Return the next step's penalty for one tensor."""
    return weight * float((scaled(fisher(gradients)) * (now - start) ** 2).sum())
