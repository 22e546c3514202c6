"""Which images and which image-level labels belong to a step (web_wilss.md 2, ciss_methods.md 2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.config import nearest
from pipeline.datasets.tasks.steps import canonical_task, classes_per_step, order

SETTINGS = ("overlap", "disjoint", "sequential", "partition")


def select_images(presence: NDArray[np.bool_], dataset: str, task: str, step: int, setting: str) -> NDArray[np.int64]:
    """Return the positions of the images of a step, ascending.

    presence: bool (images, classes), column j = class id j + 1. `overlap`: the image shows a class of the
    step; `disjoint` and `sequential`: and none of a later step (web_wilss.md 2.4; `sequential` differs in that
    masks keep their old classes); `partition`: MiB's partition of ADE20K.
    """
    if setting not in SETTINGS:
        raise ValueError(f"unknown setting `{setting}`; {nearest(setting, SETTINGS)}")
    known = order(dataset, task, step)
    if setting == "partition":
        return _partition(presence, dataset, task, step)
    columns = [c - 1 for c in classes_per_step(dataset, task)[step] if c != 0]
    chosen = presence[:, columns].any(axis=1)
    if setting != "overlap":
        future = np.ones(presence.shape[1], bool)
        future[[c - 1 for c in known if c != 0]] = False
        chosen &= ~presence[:, future].any(axis=1)
    return np.flatnonzero(chosen)


def _partition(presence: NDArray[np.bool_], dataset: str, task: str, step: int) -> NDArray[np.int64]:
    # partition.py asks this module for the steps.
    from pipeline.datasets.tasks.partition import partition_images

    return partition_images(presence, dataset, canonical_task(dataset, task))[step]


def select_labels(
    labels: NDArray[np.float32], dataset: str, task: str, step: int, all_labels: bool = False
) -> NDArray[np.float32]:
    """Return the image-level vector in channel order, background dropped (web_wilss.md 2.6).

    labels: (classes,), entry j = class id j + 1. Old classes are zeroed unless `all_labels`.
    """
    known = order(dataset, task, step)
    vector = labels[[c - 1 for c in known if c != 0]].astype(np.float32)
    if not all_labels:
        n_new = len([c for c in classes_per_step(dataset, task)[step] if c != 0])
        vector[: len(vector) - n_new] = 0
    return vector
