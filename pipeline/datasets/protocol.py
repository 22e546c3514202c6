"""The protocol of a step: classes, channel order, images and their image-level labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import write_json
from pipeline.config import Datasets
from pipeline.datasets import DatasetError
from pipeline.datasets.tasks import canonical_task, classes_per_step, order, select_images
from pipeline.datasets.voc import Item, presence, read_split


def write_protocol(settings: Datasets, step: int, out: Path) -> dict[str, Any]:
    """Write protocol/step<k>.json and return it.

    `train` lists the step's images under the overlap or disjoint rule with every class their masks show;
    `val` the whole validation split. Raises DatasetError or ValueError for bad data or an unknown task.
    """
    if settings.name not in ("voc", "minivoc"):
        raise DatasetError(f"data set `{settings.name}` cannot be read yet; use voc or minivoc")
    task = canonical_task(settings.name, settings.task)
    train, val = read_split(settings.root, "train"), read_split(settings.root, "val")
    shown = presence(settings.root, "train", train)
    chosen = select_images(shown, settings.name, task, step, settings.setting)
    if not chosen.size:
        raise DatasetError(f"no training image of {settings.root} belongs to step {step} of {task}")
    names = _class_names(settings.root)
    protocol = {
        "dataset": settings.name,
        "task": task,
        "setting": settings.setting,
        "step": step,
        "classes_per_step": classes_per_step(settings.name, task),
        "order": order(settings.name, task, step),
        "class_names": {str(i): name for i, name in enumerate(names) if i},
        "train": _rows([train[i] for i in chosen], shown[chosen]),
        "val": _rows(val, presence(settings.root, "val", val)),
    }
    write_json(out, protocol)
    return protocol


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


def _class_names(root: str) -> list[str]:
    path = Path(root) / "classes.txt"
    if path.exists():
        return path.read_text().split("\n")[:21]
    return list(VOC_NAMES)


VOC_NAMES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
