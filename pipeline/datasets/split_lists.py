"""Split lists of the original repositories: `train-<t>.npy`, positions in the data set's list of images."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets import DatasetError
from pipeline.datasets.readers.base import Reader
from pipeline.datasets.tasks import classes_per_step

SHOWN = 10
"""Differences named per list before the rest is counted."""


@dataclass(frozen=True)
class Difference:
    """One step's list of theirs against ours: ids of images that only one of them has."""

    step: int
    theirs: int
    ours: int
    only_theirs: list[str]
    only_ours: list[str]
    problem: str = ""
    """Why their list could not be compared, empty if it was."""

    @property
    def equal(self) -> bool:
        """Whether both hold the same images."""
        return not self.problem and not self.only_theirs and not self.only_ours

    def lines(self, limit: int = SHOWN) -> list[str]:
        """Return the text of this step; at most `limit` ids of each kind (0: all)."""
        if self.problem:
            return [f"step {self.step}: NOT COMPARED: {self.problem}"]
        text = [f"step {self.step}: theirs {self.theirs}, ours {self.ours}: {'equal' if self.equal else 'DIFFERENT'}"]
        for name, ids in (("theirs", self.only_theirs), ("ours", self.only_ours)):
            if ids:
                shown = ids[:limit] if limit else ids
                rest = f" and {len(ids) - len(shown)} more" if len(shown) < len(ids) else ""
                text.append(f"  only in {name} ({len(ids)}): {' '.join(shown)}{rest}")
        return text


def read_list(path: Path, n_images: int) -> NDArray[np.int64]:
    """Return the positions of a list, ascending and distinct. Raises DatasetError if it is not such a list.

    Pickled arrays are refused: reading one can run code.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise DatasetError(f"split list {path} does not exist; expected train-<step>.npy") from None
    except ValueError as error:
        raise DatasetError(f"split list {path} cannot be read without running pickled code ({error})") from None
    if loaded.ndim != 1 or not np.issubdtype(loaded.dtype, np.integer):
        raise DatasetError(f"split list {path} has shape {loaded.shape} of {loaded.dtype}, expected a list of integers")
    if loaded.size and (loaded.min() < 0 or loaded.max() >= n_images):
        raise DatasetError(f"split list {path} holds position {loaded.max()}, the data set has {n_images} images")
    return np.unique(loaded).astype(np.int64)


def compare_lists(reader: Reader, task: str, setting: str, folder: Path) -> list[Difference]:
    """Return what differs between `folder`'s `train-<t>.npy` and our lists, one entry per step.

    A list that is missing or cannot be read is an entry with the problem; the others are compared all the same.
    """
    found = []
    for step in range(len(classes_per_step(reader.key, task))):
        split = reader.train_split(step)
        items = reader.items(split)
        ours = set(reader.select(reader.presence(split, items), task, step, setting).tolist())
        try:
            theirs = set(read_list(folder / f"train-{step}.npy", len(items)).tolist())
        except DatasetError as error:
            found.append(Difference(step, 0, len(ours), [], [], str(error)))
            continue
        more, fewer = ([items[i].image_id for i in sorted(part)] for part in (theirs - ours, ours - theirs))
        found.append(Difference(step, len(theirs), len(ours), more, fewer))
    return found


def wrong_labels(reader: Reader, task: str) -> list[str]:
    """Return a line for every table of image-level labels that our lists are made from and the masks contradict."""
    splits = dict.fromkeys(reader.train_split(step) for step in range(len(classes_per_step(reader.key, task))))
    return [line for split in splits if (line := reader.wrong_labels(split, reader.items(split)))]


def fingerprint(positions: NDArray[np.int64]) -> str:
    """Return the first 12 hex digits of the MD5 of a list as little-endian int64 (web_wilss.md 2.4)."""
    return hashlib.md5(positions.astype("<i8").tobytes(), usedforsecurity=False).hexdigest()[:12]
