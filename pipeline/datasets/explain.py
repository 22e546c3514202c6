"""`explain`: what a step of a task contains, in words and counts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.config import nearest
from pipeline.datasets import reference
from pipeline.datasets.readers.registry import READERS, open_dataset
from pipeline.datasets.tasks import SETTINGS, Rule, aliases_of, canonical_task, classes_per_step, label_map

_SETTING_TEXT = {
    "overlap": "an image belongs to a step if it shows a class of the step; it may show later classes",
    "disjoint": "an image belongs to a step if it shows a class of the step and none of a later step",
    "sequential": "images as in disjoint; old classes keep their labels in training masks",
    "partition": "MiB's partition of ADE20K: every image goes to exactly one step and may show later classes",
}
_WIDTH = 100


def explain(
    dataset: str, task: str, setting: str = "overlap", rule: Rule = "plop", root: Path | None = None
) -> list[str]:
    """Return the text of a task, step by step: classes, labels in training and evaluation, images.

    Reference counts stand beside those of the data set at `root`, if one is given. Raises ValueError for an
    unknown data set, task or setting.
    """
    if setting not in SETTINGS:
        raise ValueError(f"unknown setting `{setting}`; {nearest(setting, SETTINGS)}")
    if dataset not in READERS:
        raise ValueError(f"unknown data set `{dataset}`; {nearest(dataset, READERS)}")
    if dataset == "own" and root is None:
        raise ValueError("data set `own` needs --root, the folder that `init` was run on")
    reader = READERS[dataset](root or Path("data") / dataset)
    canonical = canonical_task(reader.key, task)
    steps = classes_per_step(reader.key, canonical)
    also = [alias for alias, known in aliases_of(reader.key).items() if known == canonical]
    lines = [
        f"{dataset} {canonical}" + (f" (also {', '.join(also)})" if also else "") + f", {setting}, {len(steps)} steps",
        f"{setting}: {_SETTING_TEXT[setting]}",
    ]
    ours = _counts(dataset, root, canonical, setting, len(steps)) if root else [""] * len(steps)
    for step, classes in enumerate(steps):
        lines += ["", f"step {step}"]
        lines += _classes(reader.class_names(), classes, sum(len(c) for c in steps[:step]))
        lines += _labels(reader.key, canonical, step, setting, rule, reader.n_classes)
        lines.append("  training images: " + _images(dataset, canonical, setting, step, ours[step]))
    lines += ["", f"label rule: {rule} (a method sets its own; plop, mib and wilson differ in void and future classes)"]
    return lines


def _classes(names: dict[int, str], classes: Sequence[int], first: int) -> list[str]:
    shown = [f"{c} {'background' if c == 0 else names.get(c, '?')}" for c in classes]
    text = f"  {len(classes)} classes, channels {first}..{first + len(classes) - 1}: "
    lines = [text]
    for item in shown:
        if len(lines[-1]) + len(item) > _WIDTH:
            lines.append("    ")
        lines[-1] += f"{item}, "
    lines[-1] = lines[-1].rstrip(", ")
    return [line.rstrip() for line in lines]


def _labels(key: str, task: str, step: int, setting: str, rule: Rule, highest: int) -> list[str]:
    train = label_map(key, task, step, "train", rule, keep_old=setting == "sequential")
    test = label_map(key, task, step, "test", rule)
    return [f"  training masks: {_mapping(train, highest)}", f"  evaluation:     {_mapping(test, highest)}"]


def _mapping(table: NDArray[np.uint8], highest: int) -> str:
    ids = np.arange(highest + 1)
    parts = [f"{_ranges(ids[(table[ids] > 0) & (table[ids] != 255)])} kept"]
    masked = ids[(table[ids] == 0) & (ids > 0)]
    ignored = [*ids[table[ids] == 255], *([255] if table[255] == 255 else [])]
    if masked.size:
        parts.append(f"{_ranges(masked)} masked as background")
    parts.append(f"{_ranges(ignored)} ignored" if ignored else "nothing ignored")
    if table[255] == 0:
        parts.append("void (255) is background")
    return "; ".join(parts)


def _ranges(ids: Sequence[int] | NDArray[np.int64]) -> str:
    groups: list[list[int]] = []
    for value in map(int, ids):
        if groups and value == groups[-1][1] + 1:
            groups[-1][1] = value
        else:
            groups.append([value, value])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in groups)


def _counts(name: str, root: Path, task: str, setting: str, n_steps: int) -> list[str]:
    reader = open_dataset(name, root)
    shown: dict[str, NDArray[np.bool_]] = {}
    found = []
    for step in range(n_steps):
        split = reader.train_split(step)
        if split not in shown:
            shown[split] = reader.presence(split, reader.items(split))
        found.append(str(reader.select(shown[split], task, step, setting).size))
    return found


def _images(name: str, task: str, setting: str, step: int, ours: str) -> str:
    sizes = reference.TRAIN.get((name, task, setting))
    known = f"reference {sizes[step]}" if sizes else "no reference count is known"
    if not ours:
        return f"{known}; give --root to count yours"
    verdict = "" if sizes is None else ", equal" if str(sizes[step]) == ours else ", DIFFERENT"
    return f"yours {ours}, {known}{verdict}"
