"""SSUL: unknown 0, background 1, class c at c + 1; BCE over labelled pixels (ciss_methods.md 4.10), and SATS's own."""

from __future__ import annotations

import numpy as np

from tests.oracle.pixels import IGNORED, Array, bce, mean_all, one_hot, places, sigmoid


def targets(y: Array, saliency: Array | None, old: Array | None, threshold: float) -> Array:
    """Return 4.10.2's targets; no teacher at step 0, no saliency on ADE."""
    found = np.where(y == IGNORED, IGNORED, y + 1)
    for b, i, j in places(y):
        if found[b, i, j] == 1 and (saliency is None or saliency[b, i, j] > 0):
            found[b, i, j] = 0
        if old is not None and found[b, i, j] <= 1:
            score = sigmoid(old[b, :, i, j])
            if score.argmax() > 1 and score.max() >= threshold:
                found[b, i, j] = score.argmax()
    return found


def terms(
    z: Array, y: Array, saliency: Array | None = None, old: Array | None = None, threshold: float = 0.7
) -> dict[str, float]:
    """Return the summed BCE, mean over labelled pixels."""
    goal = targets(y, saliency, old, threshold)
    known = [(b, i, j) for b, i, j in places(y) if goal[b, i, j] != IGNORED]
    values = [bce(z[b, :, i, j], one_hot(goal[b, i, j], z.shape[1])).sum() for b, i, j in known]
    return {"bce": float(np.sum(values)) / max(1, len(known))}


def released_with_sats(
    z: Array, y: Array, saliency: Array, old: Array | None = None, threshold: float = 0.5
) -> dict[str, float]:
    """Return 4.10.8's BCE: background 0, unknown 1, mean over all pixels, only label 0 changes."""
    goal = np.where((y == IGNORED) | (y == 0), y, y + 1)
    for b, i, j in places(y) if old is not None else ():
        if goal[b, i, j] == 0:
            score = sigmoid(old[b, :, i, j])
            if score.max() > threshold:
                goal[b, i, j] = score.argmax() if score.argmax() > 1 else 0
            elif saliency[b, i, j] >= 0.5:
                goal[b, i, j] = 1

    def pixel(b: int, i: int, j: int) -> float:
        label = goal[b, i, j]
        return 0.0 if label == IGNORED else float(bce(z[b, :, i, j], one_hot(label, z.shape[1])).sum())

    return {"bce": mean_all(y, pixel)}


def decision(z: Array) -> Array:
    """Return 4.10.6's labels: the unknown's score counts for the background."""
    scores = sigmoid(z)
    return np.argmax(np.concatenate([scores[:, :1] + scores[:, 1:2], scores[:, 2:]], axis=1), axis=1)
