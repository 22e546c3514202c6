"""Which classes come at which step (web_wilss.md 2, ciss_methods.md 2).

A class id is the data set's own; a channel is the position of the id in the concatenated class lists ("order").
"""

from __future__ import annotations

from pipeline.config import nearest
from pipeline.datasets.tasks.files import read_tasks
from pipeline.datasets.tasks.tables import ALIASES, TASKS, Steps

OWN = "own:"
"""Prefix of the key of a user's own data; the data set's folder follows."""


def canonical_task(dataset: str, task: str) -> str:
    """Return the canonical name of a task (`15-5s` is `15-1`). Raises ValueError naming the nearest one."""
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


def _tasks(dataset: str) -> dict[str, Steps]:
    if dataset.startswith(OWN):
        return read_tasks(dataset.removeprefix(OWN))
    return TASKS[_family(dataset)]


def _family(dataset: str) -> str:
    families = {"minivoc": "voc", "voc": "voc", "ade": "ade", "coco-voc": "coco-voc", "coco": "coco-voc"}
    if dataset not in families:
        raise ValueError(f"unknown data set `{dataset}`; {nearest(dataset, families)}")
    return families[dataset]
