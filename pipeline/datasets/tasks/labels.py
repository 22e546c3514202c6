"""From a mask's ids to training and test labels (web_wilss.md 2, ciss_methods.md 2)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.tasks.steps import classes_per_step, order

IGNORE = 255


Rule = Literal["plop", "mib", "wilson"]


Split = Literal["train", "val", "test"]


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
