"""The interface of a data set on disk: images and masks of a split, and which image shows which class.

A data set is one class with a root. `protocol.py`, `explain` and `prepare` see nothing else of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import atomic_path
from pipeline.datasets import DatasetError
from pipeline.datasets.images import open_mask
from pipeline.datasets.tasks import select_images
from pipeline.runtime.progress import Progress

_SCANNERS = 4
"""Threads that decode masks; decoding releases the interpreter lock."""


@dataclass(frozen=True)
class Item:
    """One image of a split: id, image path and mask path, relative to the working directory."""

    image_id: str
    image: str
    mask: str


class Reader:
    """A data set. Subclasses set the class variables and implement `items`.

    A split is `train` or `val`. Class ids are those of the masks; 0 is background, 255 void.
    """

    name: ClassVar[str]
    n_classes: ClassVar[int]
    """Highest class id."""
    other_sets: ClassVar[tuple[str, ...]] = ()
    """Further evaluation sets beside `val`."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    @property
    def key(self) -> str:
        """Name under which tasks are looked up; own data carries its root."""
        return self.name

    def class_names(self) -> dict[int, str]:
        """Return {class id: name} of the foreground classes in ascending order."""
        raise NotImplementedError

    def items(self, split: str) -> list[Item]:
        """Return the images of a split in the data set's order. Raises DatasetError naming what is missing."""
        raise NotImplementedError

    def one_hot(self, split: str) -> Path | None:
        """Return where a table of image-level labels (images, n_classes) may lie, or None."""
        return None

    def train_split(self, step: int) -> str:
        """Return the split that the training images of a step come from."""
        return "train"

    def may_lack_images(self, step: int) -> bool:
        """Return whether a step may have no image, because its classes can be learnt from the web by their names."""
        return False

    def presence(self, split: str, items: Sequence[Item]) -> NDArray[np.bool_]:
        """Return bool (images, n_classes): which class has a pixel in which mask.

        A table of image-level labels beside the data is used instead of the masks if there is one;
        otherwise the masks are scanned once and the result is cached under `splits/`.
        """
        shipped = self.one_hot(split)
        if shipped is not None and shipped.exists():
            return _load_one_hot(shipped, (len(items), self.n_classes))
        return cached_presence(self.root, split, items, self.n_classes)

    def wrong_labels(self, split: str, items: Sequence[Item]) -> str:
        """Return a line if the table of image-level labels beside the data is not that of the masks, else "".

        `presence` trusts the table; this reads every mask.
        """
        shipped = self.one_hot(split)
        if shipped is None or not shipped.exists():
            return ""
        table = _load_one_hot(shipped, (len(items), self.n_classes))
        rows = np.flatnonzero((table != cached_presence(self.root, split, items, self.n_classes)).any(axis=1))
        if not rows.size:
            return ""
        return (
            f"{shipped} does not belong to the list of {split} images: {rows.size} of {len(items)} masks show other "
            f"classes than its row, first row {rows[0]} ({items[rows[0]].image_id}); "
            "put the list back or delete the table"
        )

    def select(self, shown: NDArray[np.bool_], task: str, step: int, setting: str) -> NDArray[np.int64]:
        """Return the positions of the training images of a step, ascending."""
        return select_images(shown, self.key, task, step, setting)


def cached_presence(root: Path, split: str, items: Sequence[Item], n_classes: int) -> NDArray[np.bool_]:
    """Return bool (images, n_classes) of the masks, cached until a mask's size or date changes."""
    key = hashlib.sha256("\n".join(_stamp(item) for item in items).encode()).hexdigest()[:16]
    cache = root / "splits" / f".presence_{split}_{key}.npy"
    if cache.exists():
        return _load_table(cache, "delete it, it is built again from the masks")
    table = count_pixels(items, n_classes, f"classes of {split}")[:, 1 : n_classes + 1] > 0
    with atomic_path(cache) as temporary, temporary.open("wb") as file:
        np.save(file, table)
    return table


def count_pixels(items: Sequence[Item], n_classes: int, label: str) -> NDArray[np.int32]:
    """Return int32 (images, n_classes + 2): pixels of classes 0..n_classes, then of void.

    Raises DatasetError for the first mask that cannot be read or holds an unknown id.
    """
    table = np.zeros((len(items), n_classes + 2), np.int32)
    progress = Progress(label, len(items), unit="masks")

    def count(item: Item) -> NDArray[np.int64]:
        found = np.bincount(open_mask(item.mask, n_classes).ravel(), minlength=256)
        return np.append(found[: n_classes + 1], found[255])

    with ThreadPoolExecutor(_SCANNERS) as pool:
        for row, counts in enumerate(pool.map(count, items)):
            table[row] = counts
            progress.update()
    return table


def _load_table(path: Path, advice: str) -> NDArray[Any]:
    try:
        table: NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DatasetError(f"{path} cannot be read as a table of image labels ({error}); {advice}") from None
    return table


def _load_one_hot(path: Path, shape: tuple[int, int]) -> NDArray[np.bool_]:
    table = _load_table(path, "replace or delete it")
    if table.shape != shape:
        raise DatasetError(f"{path} has shape {table.shape}, expected {shape}")
    return np.asarray(table.astype(bool))


def require_files(items: Sequence[Item], source: Path | str) -> list[Item]:
    """Return the items if every image exists. Raises DatasetError naming the first that does not."""
    missing = [item.image for item in items if not Path(item.image).exists()]
    if missing:
        raise DatasetError(f"{source} lists {missing[0]}, which is not in the data set ({len(missing)} missing)")
    return list(items)


def _stamp(item: Item) -> str:
    try:
        stat = Path(item.mask).stat()
    except FileNotFoundError:
        raise DatasetError(f"mask {item.mask} of image {item.image_id} does not exist") from None
    return f"{item.mask} {stat.st_size} {stat.st_mtime_ns}"
