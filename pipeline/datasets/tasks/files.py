"""Tasks of a user's own data: `tasks.yaml` in the data set's folder."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from pipeline.datasets import DatasetError
from pipeline.datasets.tasks.tables import Steps

FILE = "tasks.yaml"


def read_tasks(root: str | Path) -> dict[str, Steps]:
    """Return {task: class ids of each step} of `<root>/tasks.yaml`.

    Raises DatasetError if the file is absent, or a task is not a list of steps that begins with 0 and names
    every class once.
    """
    path = Path(root) / FILE
    try:
        stamp = path.stat().st_mtime_ns
    except FileNotFoundError:
        raise DatasetError(f"{path} does not exist; run `python -m pipeline.datasets init {root}` first") from None
    return _read(path, stamp)


@lru_cache(maxsize=16)
def _read(path: Path, stamp: int) -> dict[str, Steps]:
    try:
        loaded = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise DatasetError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(loaded, dict) or not loaded:
        raise DatasetError(f"{path} must map task names to lists of steps")
    for task, steps in loaded.items():
        _check(path, str(task), steps)
    return {str(task): steps for task, steps in loaded.items()}


def _check(path: Path, task: str, steps: Any) -> None:
    shaped = isinstance(steps, list) and steps and all(isinstance(step, list) and step for step in steps)
    ids = [c for step in steps for c in step] if shaped else []
    if not shaped or not all(isinstance(c, int) and 0 <= c < 255 for c in ids):
        raise DatasetError(f"{path}: task `{task}` must be a list of steps, each a list of class ids 0..254")
    if ids[0] != 0:
        raise DatasetError(f"{path}: task `{task}` must begin with class 0 (background), got {ids[0]}")
    twice = sorted({c for c in ids if ids.count(c) > 1})
    if twice:
        raise DatasetError(f"{path}: task `{task}` names classes {twice} more than once")
