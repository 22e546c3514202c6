"""MiB's "disjoint" protocol of ADE20K: every image goes to exactly one step (ciss_methods.md 2.6)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.tasks import classes_per_step

_FILLED = 120.0
"""Weight of how many of a class's images are still to be dealt out."""
_UNION = {"100-50": "100-10", "100-50b": "100-10b"}
"""Tasks whose second step joins the later steps of another task, which is the one that is partitioned."""


def partition_images(presence: NDArray[np.bool_], dataset: str, task: str) -> list[NDArray[np.int64]]:
    """Return the positions of each step's images, ascending; images without any class belong to no step.

    presence: bool (images, classes), column j = class id j + 1. An image may show classes of later steps; for the
    strict rule see select_images. The images of each class in turn go to the step of one of their classes, that
    which lacks most of its images, rare classes first among equals. Raises ValueError if the task lacks a class.
    """
    steps = classes_per_step(dataset, _UNION.get(task, task))
    step_of = {class_id: step for step, classes in enumerate(steps) for class_id in classes}
    lost = [c for c in range(1, presence.shape[1] + 1) if c not in step_of]
    if lost:
        raise ValueError(f"task {task} of {dataset} has no step for class {lost[0]}; a partition needs every class")
    owner = np.array([step_of[c] for c in range(1, presence.shape[1] + 1)])
    winners = _deal(presence, owner)
    if task in _UNION:
        winners = np.minimum(winners, 1)
    return [np.flatnonzero(winners == step) for step in range(len(classes_per_step(dataset, task)))]


def _deal(presence: NDArray[np.bool_], owner: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the step of every image, -1 for images without a class."""
    total = presence.sum(axis=0).astype(np.float64)
    assigned = np.zeros(len(total))
    winners = np.full(len(presence), -1)
    for column in range(len(total)):
        for image in np.flatnonzero(presence[:, column]):
            if winners[image] >= 0:
                continue
            shown = np.flatnonzero(presence[image])
            scores = _FILLED * (1 - assigned[shown] / total[shown]) + total[shown].sum() / total[shown]
            winners[image] = owner[shown[np.argmax(scores)]]
            assigned[shown[owner[shown] == winners[image]]] += 1
    return winners
