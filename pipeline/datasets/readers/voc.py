"""Pascal VOC 2012 with SBD masks, and whatever has its layout (web_wilss.md 2.8)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets import DatasetError
from pipeline.datasets.readers import class_names
from pipeline.datasets.readers.base import Item, Reader, require_files

N_CLASSES = 20
SPLITS = {"train": "train_aug.txt", "val": "val.txt"}


class Voc(Reader):
    """`JPEGImages/`, `SegmentationClassAug/` and `splits/` under the root; `classes.txt` may rename classes."""

    name = "voc"
    n_classes = N_CLASSES

    def class_names(self) -> dict[int, str]:
        """Return the names of classes 1..20, from `classes.txt` if it is there."""
        path = self.root / "classes.txt"
        names = path.read_text().split("\n")[: N_CLASSES + 1] if path.exists() else class_names.VOC
        return {i: name for i, name in enumerate(names) if i}

    def items(self, split: str) -> list[Item]:
        """Return the images of `splits/train_aug.txt` or `splits/val.txt`."""
        return read_pairs(self.root, self.root / "splits" / SPLITS[split])

    def one_hot(self, split: str) -> Path:
        """Return the file of the originals."""
        return self.root / f"voc_1h_labels_{split}.npy"


class MiniVoc(Voc):
    """The drawn data set in VOC's layout."""

    name = "minivoc"


def read_pairs(root: str | Path, path: Path) -> list[Item]:
    """Return the images of a list whose lines hold an image and a mask path. Raises DatasetError with the line.

    Paths are relative to the root; a leading slash is dropped (web_wilss.md 2.8).
    """
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
    return require_files(items, path)


def read_split(root: str | Path, split: str) -> list[Item]:
    """Return the images of `train` or `val` of a data set in VOC's layout."""
    return Voc(root).items(split)


def presence(root: str | Path, split: str, items: Sequence[Item]) -> NDArray[np.bool_]:
    """Return bool (images, 20) of a data set in VOC's layout: which class has a pixel in which mask."""
    return Voc(root).presence(split, items)
