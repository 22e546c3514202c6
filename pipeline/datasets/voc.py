"""Reading a data set in VOC's layout: splits, masks, and which image shows which class."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import atomic_path
from pipeline.datasets import DatasetError
from pipeline.datasets.images import open_mask
from pipeline.progress import Progress

N_CLASSES = 20
SPLITS = {"train": "train_aug.txt", "val": "val.txt"}


@dataclass(frozen=True)
class Item:
    """One image of a split: id, image path and mask path, relative to the working directory."""

    image_id: str
    image: str
    mask: str


def read_split(root: str | Path, split: str) -> list[Item]:
    """Return the images of `train` or `val` in file order. Raises DatasetError naming the file and line.

    Each line holds an image and a mask path with a leading slash that is dropped (web_wilss.md 2.8).
    """
    path = Path(root) / "splits" / SPLITS[split]
    try:
        lines = path.read_text().split("\n")
    except FileNotFoundError:
        raise DatasetError(f"split file {path} does not exist; expected VOC layout under {root}") from None
    items = []
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 2:
            raise DatasetError(f"{path}:{number}: expected an image and a mask path, got {line!r}")
        image, mask = (f"{root}/{field.lstrip('/')}" for field in fields)
        items.append(Item(Path(image).stem, image, mask))
    if not items:
        raise DatasetError(f"split file {path} is empty")
    missing = [item.image for item in items if not Path(item.image).exists()]
    if missing:
        raise DatasetError(f"{path} lists {missing[0]}, which is not in the data set ({len(missing)} missing)")
    return items


def presence(root: str | Path, split: str, items: list[Item]) -> NDArray[np.bool_]:
    """Return bool (images, 20): which class has a pixel in which mask; cached beside the splits.

    A shipped `voc_1h_labels_<split>.npy` of the right size is used instead of the masks.
    """
    shipped = Path(root) / f"voc_1h_labels_{split}.npy"
    if shipped.exists():
        table = _load(shipped, "replace or delete it")
        if table.shape != (len(items), N_CLASSES):
            raise DatasetError(f"{shipped} has shape {table.shape}, expected {(len(items), N_CLASSES)}")
        return table.astype(bool)
    key = hashlib.sha256("\n".join(_stamp(item) for item in items).encode()).hexdigest()[:16]
    cache = Path(root) / "splits" / f".presence_{split}_{key}.npy"
    if cache.exists():
        return _load(cache, "delete it, it is built again from the masks")
    table = np.zeros((len(items), N_CLASSES), bool)
    progress = Progress(f"classes of {split}", len(items), unit="masks")
    for row, item in enumerate(items):
        values = np.unique(open_mask(item.mask, N_CLASSES))
        table[row, [v - 1 for v in values if 0 < v <= N_CLASSES]] = True
        progress.update()
    with atomic_path(cache) as temporary, temporary.open("wb") as file:
        np.save(file, table)
    return table


def _load(path: Path, advice: str) -> NDArray[Any]:
    try:
        table: NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DatasetError(f"{path} cannot be read as a table of image labels ({error}); {advice}") from None
    return table


def _stamp(item: Item) -> str:
    try:
        stat = Path(item.mask).stat()
    except FileNotFoundError:
        raise DatasetError(f"mask {item.mask} of image {item.image_id} does not exist") from None
    return f"{item.mask} {stat.st_size} {stat.st_mtime_ns}"
