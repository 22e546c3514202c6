"""ILT: CE + weight KD + feature_weight MSE of the body's features (ciss_methods.md 4.4)."""

from __future__ import annotations

import numpy as np

from tests.oracle import lwf
from tests.oracle.pixels import Array


def terms(
    z: Array, old: Array, y: Array, body: Array, old_body: Array, weight: float, feature_weight: float
) -> dict[str, float]:
    """Return the three terms."""
    squares = [(a - b) ** 2 for a, b in zip(body.ravel(), old_body.ravel(), strict=True)]
    return {**lwf.terms(z, old, y, weight), "features": feature_weight * float(np.mean(squares))}
