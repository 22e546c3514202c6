"""Which classes come at which step, which images belong to a step, and how labels are mapped.

Sources: web_wilss.md 2 and ciss_methods.md 2. A class id is the data set's own; a channel is the position
of the id in the concatenated class lists ("order").
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.config import nearest
from pipeline.datasets.task_files import read_tasks
from pipeline.datasets.task_tables import ALIASES, TASKS, Steps

IGNORE = 255
Rule = Literal["plop", "mib", "wilson"]
Split = Literal["train", "val", "test"]
SETTINGS = ("overlap", "disjoint", "sequential", "partition")
OWN = "own:"
"""Prefix of the key of a user's own data; the data set's folder follows."""


def canonical_task(dataset: str, task: str) -> str:
    """Return the canonical name of a task (`15-1` is `15-5s`). Raises ValueError naming the nearest one."""
    tasks, aliases = _tasks(dataset), aliases_of(dataset)
    name = aliases.get(task, task)
    if name not in tasks:
        raise ValueError(f"unknown task `{task}` of data set {dataset}; {nearest(task, [*tasks, *aliases])}")
    return name


def task_names(dataset: str) -> list[str]:
    """Return the canonical names of a data set's tasks."""
    return list(_tasks(dataset))


def aliases_of(dataset: str) -> dict[str, str]:
    """Return {alias: canonical task} of a data set."""
    if dataset.startswith(OWN):
        return {}
    family = _family(dataset)
    return {alias: name for (f, alias), name in ALIASES.items() if f == family}


def classes_per_step(dataset: str, task: str) -> list[list[int]]:
    """Return the class ids of each step; step 0 begins with 0. Raises ValueError for an unknown task."""
    return [list(step) for step in _tasks(dataset)[canonical_task(dataset, task)]]


def order(dataset: str, task: str, step: int) -> list[int]:
    """Return the class ids in channel order after `step`. Raises ValueError for a step beyond the task."""
    steps = classes_per_step(dataset, task)
    if not 0 <= step < len(steps):
        raise ValueError(f"task {task} of {dataset} has steps 0..{len(steps) - 1}, got step {step}")
    return [class_id for classes in steps[: step + 1] for class_id in classes]


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
    from pipeline.datasets.partition import partition_images

    return partition_images(presence, dataset, canonical_task(dataset, task))[step]


def label_map(
    dataset: str, task: str, step: int, split: Split, rule: Rule, keep_old: bool = False
) -> NDArray[np.uint8]:
    """Return a table of 256 entries from mask value to training or test label (channel, 0 or 255).

    plop: old and future classes are background, void is ignored. mib: as plop in training but void becomes
    background; in val and test unlisted classes are ignored. wilson: void becomes background in training,
    old classes keep their channel in val and test, future classes are background. `keep_old` leaves old classes
    their channel in training too (the sequential setting).
    """
    channels = {class_id: channel for channel, class_id in enumerate(order(dataset, task, step))}
    current = set(classes_per_step(dataset, task)[step]) - {0}
    keeps_old = keep_old or split == "test" or (split == "val" and rule == "wilson")
    table = np.zeros(256, np.uint8)
    if rule == "mib" and split != "train":
        table[:] = IGNORE
        # Outside training MiB ignores whatever is not annotated; ADE's class 0 is "other", not background.
        table[0] = IGNORE if dataset == "ade" else 0
    for class_id, channel in channels.items():
        if class_id in current or (keeps_old and class_id != 0):
            table[class_id] = channel
    table[IGNORE] = 0 if split == "train" and rule in ("mib", "wilson") else IGNORE
    return table


def sats_thresholds(dataset: str, task: str, step: int) -> tuple[int, int]:
    """Return (lo, hi), between which SATS's release trains: the step's first class id less one, and its last.

    In training ids up to lo (if positive) and above hi become background, in testing those above hi; 255 stays
    (ciss_methods.md 2.3). For tasks in ascending order that is label_map's `plop`. Raises ValueError for others,
    whose ids are not channels.
    """
    known = order(dataset, task, step)
    if known != list(range(len(known))):
        raise ValueError(f"task {task} of {dataset} is not in ascending class order, which thresholds on ids need")
    current = classes_per_step(dataset, task)[step]
    return current[0] - 1, current[-1]


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


def _tasks(dataset: str) -> dict[str, Steps]:
    if dataset.startswith(OWN):
        return read_tasks(dataset.removeprefix(OWN))
    return TASKS[_family(dataset)]


def _family(dataset: str) -> str:
    families = {"minivoc": "voc", "voc": "voc", "ade": "ade", "coco-voc": "coco-voc", "coco": "coco-voc"}
    if dataset not in families:
        raise ValueError(f"unknown data set `{dataset}`; {nearest(dataset, families)}")
    return families[dataset]
