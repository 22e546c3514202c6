"""The protocol of a step: classes, channel order, images and their image-level labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import write_json
from pipeline.config import Datasets
from pipeline.datasets import DatasetError
from pipeline.datasets.readers.base import Item, Reader
from pipeline.datasets.readers.registry import open_dataset
from pipeline.datasets.split_lists import read_list
from pipeline.datasets.tasks import canonical_task, classes_per_step, order


def write_protocol(settings: Datasets, step: int, out: Path) -> dict[str, Any]:
    """Write protocol/step<k>.json and return it.

    `train` lists the step's images under the setting's rule, or those of the imported `train-<k>.npy` if
    `settings.lists` names a folder, with every class their masks show; `val` the whole validation split;
    `other_val`, if the data set has any, further evaluation sets by name. Raises DatasetError or ValueError
    for bad data or an unknown task.
    """
    reader = open_dataset(settings.name, settings.root)
    task = canonical_task(reader.key, settings.task)
    known = order(reader.key, task, step)
    split = reader.train_split(step)
    train = reader.items(split)
    shown = reader.presence(split, train)
    if settings.lists:
        chosen = read_list(Path(settings.lists) / f"train-{step}.npy", len(train))
    else:
        chosen = reader.select(shown, task, step, settings.setting)
    if not chosen.size:
        raise DatasetError(f"no training image of {settings.root} belongs to step {step} of {task}")
    protocol = {
        "dataset": reader.key,
        "task": task,
        "setting": settings.setting,
        "step": step,
        "classes_per_step": classes_per_step(reader.key, task),
        "order": known,
        "class_names": {str(i): name for i, name in reader.class_names().items()},
        "train": _rows([train[i] for i in chosen], shown[chosen]),
        "val": _evaluation(reader, "val"),
    }
    if reader.other_sets:
        protocol["other_val"] = {name: _evaluation(reader, name) for name in reader.other_sets}
    write_json(out, protocol)
    return protocol


def _evaluation(reader: Reader, split: str) -> list[dict[str, Any]]:
    items = reader.items(split)
    return _rows(items, reader.presence(split, items))


def _rows(items: list[Item], shown: NDArray[np.bool_]) -> list[dict[str, Any]]:
    return [
        {
            "id": item.image_id,
            "image": item.image,
            "mask": item.mask,
            "labels": [int(c) + 1 for c in np.flatnonzero(row)],
        }
        for item, row in zip(items, shown, strict=True)
    ]
