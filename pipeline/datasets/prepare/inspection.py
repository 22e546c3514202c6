"""Looking at every image and mask of a split: what is unreadable, and how often each class occurs."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pipeline.artifacts import atomic_path
from pipeline.datasets import DatasetError
from pipeline.datasets.images import open_mask
from pipeline.datasets.readers.base import Item, Reader
from pipeline.runtime.progress import Progress

_THREADS = 4


@dataclass
class Report:
    """What `prepare` found: facts, problems, and the numbers that go to prepared.json."""

    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    numbers: dict[str, Any] = field(default_factory=dict)

    def say(self, line: str) -> None:
        """Add a fact."""
        self.lines.append(line)

    def expect(self, what: str, found: Any, expected: Any, subset: bool) -> None:
        """Add a fact with its reference value; a difference is a problem unless the data is a subset."""
        if found == expected:
            self.say(f"{what}: {found}, as in the reference")
        elif subset:
            self.say(f"{what}: {found}, the whole data set has {expected}")
        else:
            self.problems.append(f"{what}: {found}, expected {expected}")


def inspect_split(reader: Reader, split: str, items: Sequence[Item], report: Report) -> NDArray[np.int32] | None:
    """Return pixels per image and class (images, n_classes + 2; the last column is void).

    Unreadable images and masks, and pairs of different size, become problems; None is returned then.
    """
    table = np.zeros((len(items), reader.n_classes + 2), np.int32)
    progress = Progress(f"{reader.name} {split}", len(items), unit="pairs")
    bad = 0

    def look(item: Item) -> NDArray[np.int64] | str:
        return _inspect(item, reader.n_classes)

    with ThreadPoolExecutor(_THREADS) as pool:
        for row, found in enumerate(pool.map(look, items)):
            progress.update()
            if isinstance(found, str):
                report.problems.append(found)
                bad += 1
            else:
                table[row] = found
    report.say(f"{split}: {len(items) - bad} of {len(items)} images and masks readable")
    if bad:
        return None
    _histogram(reader, split, table, report)
    return table


def _inspect(item: Item, n_classes: int) -> NDArray[np.int64] | str:
    try:
        with Image.open(item.image) as image:
            size = image.size
            # A reduced decode still reads the whole JPEG stream, so that a truncated file shows.
            image.draft("RGB", (1, 1))
            image.load()
        mask = open_mask(item.mask, n_classes)
    except DatasetError as error:
        return str(error)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        return f"image {item.image} cannot be decoded ({error})"
    if mask.shape != size[::-1]:
        return f"image {item.image} has size {size}, its mask {mask.shape[::-1]}"
    found = np.bincount(mask.ravel(), minlength=256)
    return np.append(found[: n_classes + 1], found[255])


def _histogram(reader: Reader, split: str, table: NDArray[np.int32], report: Report) -> None:
    images, pixels = (table > 0).sum(axis=0), table.sum(axis=0, dtype=np.int64)
    names = {0: "background", **reader.class_names(), reader.n_classes + 1: "void"}
    report.numbers.setdefault("histogram", {})[f"{reader.name} {split}"] = {
        name: {"images": int(images[c]), "pixels": int(pixels[c])} for c, name in names.items()
    }
    total = max(int(pixels.sum()), 1)
    for class_id, name in names.items():
        share = 100 * pixels[class_id] / total
        report.say(f"  {split} {class_id:3d} {name:20s} {images[class_id]:7d} images {share:7.3f} % of pixels")


def one_hot(path: Path, shown: NDArray[np.bool_], report: Report) -> None:
    """Write the table of image-level labels (float64, as the originals) or compare the one that is there."""
    if not path.exists():
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.save(file, shown.astype(np.float64))
        report.say(f"derived {path.name}: {shown.shape[0]} x {shown.shape[1]}")
        return
    table = np.load(path, allow_pickle=False)
    if table.shape != shown.shape:
        report.problems.append(f"{path} has shape {table.shape}, the masks give {shown.shape}")
        return
    rows = np.flatnonzero((table.astype(bool) != shown).any(axis=1))
    if rows.size:
        report.problems.append(f"{path} differs from the masks in {rows.size} rows, first row {rows[0]}; delete it")
    else:
        report.say(f"{path.name} agrees with the masks")
