"""Training and evaluation samples as torch data sets."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import Dataset

from pipeline.config import Datasets
from pipeline.datasets.images import open_image, open_mask
from pipeline.datasets.tasks import IGNORE, Rule, label_map, select_labels
from pipeline.datasets.transforms import eval_geometry, normalise, train_geometry

CACHE_IMAGES = 6000
"""Decoded images kept per process; MiniVOC fits whole, so that a CPU trains instead of decoding."""
CACHE_PIXELS = 64_000
"""Larger images are decoded again instead of being kept."""


class TrainListDataset(Dataset[dict[str, Any]]):
    """Items of a training list.

    Each is a dict: image (float32 3xSxS), mask (int64 SxS, channel ids or 255), labels (float32, one entry per
    known foreground class in channel order), image_id, role. A `web` image has no mask: it is void all
    over. A `replay` image's mask holds channel ids already, and its labels are the old classes in the crop
    (web_wilss.md 5.1). Geometry depends on (seed, epoch, index) alone.
    """

    def __init__(
        self,
        rows: Sequence[dict[str, Any]],
        protocol: dict[str, Any],
        settings: Datasets,
        rule: Rule,
        seed: int,
        all_labels: bool = False,
    ) -> None:
        self.rows, self.settings, self.seed = list(rows), settings, seed
        sequential = protocol["setting"] == "sequential"
        self.all_labels = all_labels or sequential
        self._task = (protocol["dataset"], protocol["task"], protocol["step"])
        self._n_channels = len(protocol["order"])
        self._table = label_map(*self._task, "train", rule, keep_old=sequential)
        self._n_classes = max(map(int, protocol["class_names"]))
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose crops are drawn."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.rows[index]
        rng = random.Random(f"{self.seed}/{self._epoch}/{index}")
        image = _picture(row["image"])
        mask = Image.fromarray(_mask(row["mask"])) if row["mask"] else None
        image, mask = train_geometry(image, mask, self.settings.train_size, rng, self.settings.train_area)
        values = np.asarray(mask) if mask is not None else np.full(image.size[::-1], IGNORE, np.uint8)
        return {
            "image": torch.from_numpy(normalise(image)),
            "mask": torch.from_numpy(self._channels(row["role"], values).astype(np.int64)),
            "labels": torch.from_numpy(self._labels(row, values)),
            "image_id": row["image_id"],
            "role": row["role"],
        }

    def _channels(self, role: str, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if role == "dataset":
            return self._table[values]
        return values

    def _labels(self, row: dict[str, Any], values: NDArray[np.uint8]) -> NDArray[np.float32]:
        if row["role"] == "replay":
            vector = np.zeros(self._n_channels - 1, np.float32)
            vector[[v - 1 for v in np.unique(values) if 0 < v < self._n_channels]] = 1
            return vector
        raw = np.zeros(self._n_classes, np.float32)
        raw[[c - 1 for c in row["labels"]]] = 1
        return select_labels(raw, *self._task, all_labels=self.all_labels)


class EvalDataset:
    """Validation images of a protocol: image (tensor), mask (uint8, test labels of the step), image_id."""

    def __init__(self, protocol: dict[str, Any], size: int, rule: Rule = "wilson") -> None:
        self.rows, self.size = protocol["val"], size
        self._table = label_map(protocol["dataset"], protocol["task"], protocol["step"], "test", rule)
        self._n_classes = max(map(int, protocol["class_names"]))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.rows[index]
        image = eval_geometry(open_image(row["image"]), self.size)
        mask = eval_geometry(Image.fromarray(open_mask(row["mask"], self._n_classes)), self.size, nearest=True)
        return {
            "image": torch.from_numpy(normalise(image)),
            "mask": self._table[np.asarray(mask)],
            "image_id": row["id"],
        }


_PICTURES: dict[str, Image.Image] = {}
_MASKS: dict[str, NDArray[np.uint8]] = {}


def _picture(uri: str) -> Image.Image:
    if uri in _PICTURES:
        return _PICTURES[uri]
    image = open_image(uri)
    if image.width * image.height <= CACHE_PIXELS and len(_PICTURES) < CACHE_IMAGES:
        _PICTURES[uri] = image
    return image


def _mask(path: str) -> NDArray[np.uint8]:
    if path in _MASKS:
        return _MASKS[path]
    mask = open_mask(path)
    if mask.size <= CACHE_PIXELS and len(_MASKS) < CACHE_IMAGES:
        _MASKS[path] = mask
    return mask
