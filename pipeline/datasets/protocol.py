"""The protocol of a step: classes, channel order, images and their image-level labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Datasets
from pipeline.datasets import DatasetError
from pipeline.datasets.protocol_file import ImageRecord, Protocol, save_protocol
from pipeline.datasets.readers.base import Item, Reader
from pipeline.datasets.readers.registry import open_dataset
from pipeline.datasets.split_lists import read_list
from pipeline.datasets.tasks import canonical_task, classes_per_step, order


def write_protocol(settings: Datasets, step: int, out: Path) -> Protocol:
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
    new = [c - 1 for c in classes_per_step(reader.key, task)[step] if c]
    if not chosen.size and (shown[:, new].any() or not reader.may_lack_images(step)):
        raise DatasetError(f"no training image of {settings.root} belongs to step {step} of {task}")
    protocol = Protocol(
        dataset=reader.key,
        task=task,
        setting=settings.setting,
        step=step,
        classes_per_step=tuple(map(tuple, classes_per_step(reader.key, task))),
        order=tuple(known),
        class_names=reader.class_names(),
        train=_records([train[i] for i in chosen], shown[chosen]),
        val=_evaluation(reader, "val"),
        other_val={name: _evaluation(reader, name) for name in reader.other_sets},
    )
    save_protocol(out, protocol)
    return protocol


def _evaluation(reader: Reader, split: str) -> tuple[ImageRecord, ...]:
    items = reader.items(split)
    return _records(items, reader.presence(split, items))


def _records(items: list[Item], shown: NDArray[np.bool_]) -> tuple[ImageRecord, ...]:
    return tuple(
        ImageRecord(item.image_id, item.image, item.mask, tuple(int(c) + 1 for c in np.flatnonzero(row)))
        for item, row in zip(items, shown, strict=True)
    )
