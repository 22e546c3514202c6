"""Arithmetic that the oracles share: NumPy, one pixel at a time, in double precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
IGNORED = 255


def softmax(z: Array) -> Array:
    """Return probabilities of one pixel's logits."""
    e = np.exp(z - z.max())
    return e / e.sum()


def sigmoid(z: Array) -> Array:
    """Return 1 / (1 + exp(-z))."""
    return 1 / (1 + np.exp(-z))


def bce(z: Array, target: Array) -> Array:
    """Return -t log sigma(z) - (1 - t) log(1 - sigma(z)), per element."""
    p = sigmoid(z)
    return -target * np.log(p) - (1 - target) * np.log(1 - p)


def places(labels: Array) -> Iterator[tuple[int, int, int]]:
    """Yield image, row and column of every pixel of (B, H, W)."""
    return iter(np.ndindex(*labels.shape))


def mean_all(labels: Array, value: Callable[[int, int, int], float]) -> float:
    """Return the mean over all pixels of `value(b, i, j)`."""
    return float(np.mean([value(*at) for at in places(labels)]))


def one_hot(label: int, n: int) -> Array:
    """Return the one-hot target of a pixel, zero everywhere if it is ignored."""
    return np.array([float(c == label) for c in range(n)])
