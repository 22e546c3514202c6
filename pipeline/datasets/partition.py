"""MiB's partition of ADE20K into steps, which its paper calls disjoint (ciss_methods.md 2.6)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SAME_BASE = {"100-50": "100-10", "100-50b": "100-10b"}
"""Tasks whose partition is another task's: its step 0, and its later steps together."""
_RARITY = 120.0


def partition_images(presence: NDArray[np.bool_], steps: Sequence[Sequence[int]]) -> list[NDArray[np.int64]]:
    """Return the image positions of each step, ascending; every image with a class goes to exactly one step.

    Images are visited class by class. Each goes to the step of its neediest class j: the first maximum of
    120 (1 - assigned_j / total_j) + (sum of total_k over the image's classes) / total_j. Images may show
    classes of later steps, unlike under the subset rule.
    """
    n_images, n_classes = presence.shape
    step_of = np.full(n_classes, -1)
    for number, classes in enumerate(steps):
        step_of[[c - 1 for c in classes if c]] = number
    total = presence.sum(axis=0).astype(np.float64)
    assigned = np.zeros(n_classes)
    owner = np.full(n_images, -1)
    for class_index in range(n_classes):
        for image in np.flatnonzero(presence[:, class_index]):
            if owner[image] >= 0:
                continue
            shown = np.flatnonzero(presence[image])
            score = _RARITY * (1 - assigned[shown] / total[shown]) + total[shown].sum() / total[shown]
            owner[image] = step_of[shown[np.argmax(score)]]
            assigned[shown[step_of[shown] == owner[image]]] += 1
    return [np.flatnonzero(owner == number) for number in range(len(steps))]
