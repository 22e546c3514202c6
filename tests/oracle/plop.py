"""PLOP: cross-entropy on completed labels, weighted per image, and local POD (ciss_methods.md 4.9)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tests.oracle.pixels import IGNORED, Array, mean_all, places, softmax

SCALES = (1, 2, 4)


def uncertainty(q: Array, n_total: int) -> float:
    """Return u of 4.9.2: the entropy's mean over classes, over ln O ln N."""
    entropy = -sum(p * math.log(p + 1e-8) for p in q) / len(q) / math.log(len(q))
    return entropy / math.log(n_total)


def thresholds(teacher: Sequence[Array], labels: Sequence[Array], n_total: int, floor: float) -> list[float]:
    """Return 4.9.3's threshold of every channel from batches of teacher logits and masked labels."""
    n_old = teacher[0].shape[1]
    counts = np.zeros((n_old, 100), int)
    for old, y in zip(teacher, labels, strict=True):
        for b, i, j in places(y):
            if y[b, i, j] == 0:
                q = softmax(old[b, :, i, j])
                counts[q.argmax(), min(99, int(uncertainty(q, n_total) * 100))] += 1
    return [max(floor, _median(row)) for row in counts] + [floor] * (n_total - n_old)


def _median(counts: Array) -> float:
    half, offset = counts.sum() / 2, 0
    if half == 0:
        return 0.0
    for b, count in enumerate(counts):
        if offset <= half <= offset + count:
            return 0.01 * b + 0.01 * (half - offset) / count if count else 0.0
        offset += b  # the released median adds the bin's index, not its count
    part = half - (offset - 99)
    return 0.99 + 0.01 * part / counts[99] if counts[99] else math.copysign(math.inf, part) if part else 0.0


def completed(y: Array, old: Array, limits: Sequence[float], n_total: int, remembered: Sequence[bool]) -> Array:
    """Return the labels of 4.9.4; an exemplar keeps its old classes."""
    found = y.copy()
    for b, i, j in places(y):
        if y[b, i, j] < old.shape[1] and not (remembered[b] and y[b, i, j] > 0):
            q = softmax(old[b, :, i, j])
            found[b, i, j] = q.argmax() if uncertainty(q, n_total) < limits[q.argmax()] else IGNORED
    return found


def image_weight(y: Array, pseudo: Array, n_old: int) -> float:
    """Return nu of one image (H, W): accepted over old pixels."""
    old = [(i, j) for i, j in np.ndindex(*y.shape) if y[i, j] < n_old]
    return sum(pseudo[at] != IGNORED for at in old) / (len(old) + 1e-6)


def embedding(f: Array) -> list[float]:
    """Return Phi of one squared map (C, W, W): row and column means of every cell at every scale."""
    found: list[float] = []
    for s in SCALES:
        k = f.shape[2] // s
        for i in range(s if k else 0):
            for j in range(s):
                cell = f[:, i * k : (i + 1) * k, j * k : (j + 1) * k]
                found += [*cell.mean(axis=2).ravel(), *cell.mean(axis=1).ravel()]
    return found


def folded(z: Array, n_old: int) -> Array:
    """Return the student's logits with its new channels added to the background."""
    return np.concatenate([z[:, :1] + z[:, n_old:].sum(axis=1, keepdims=True), z[:, 1:n_old]], axis=1)


def pod(layers: Sequence[tuple[Array, Array, float]], growth: float) -> float:
    """Return L_POD of (student, teacher, weight) per layer."""
    total = 0.0
    for student, teacher, weight in layers:
        pairs = [(embedding(a**2), embedding(b**2)) for a, b in zip(student, teacher, strict=True)]
        total += weight * float(np.mean([math.dist(a, b) for a, b in pairs]))
    return math.sqrt(growth) * total / len(layers)


def terms(
    z: Array, old: Array, y: Array, maps: Sequence[Array], old_maps: Sequence[Array],
    limits: Sequence[float], remembered: Sequence[bool], factor: float, logits_factor: float,
) -> dict[str, float]:  # fmt: skip
    """Return both terms."""
    n_total, n_old = z.shape[1], old.shape[1]
    pseudo = completed(y, old, limits, n_total, remembered)
    nu = [image_weight(y[b], pseudo[b], n_old) for b in range(len(y))]

    def pixel(b: int, i: int, j: int) -> float:
        label = pseudo[b, i, j]
        return 0.0 if label == IGNORED else -nu[b] * float(np.log(softmax(z[b, :, i, j])[label]))

    layers = [(a, b, factor) for a, b in zip(maps, old_maps, strict=True)]
    layers.append((folded(z, n_old), old, logits_factor))
    return {"ce": mean_all(y, pixel), "pod": pod(layers, n_total / (n_total - n_old))}
