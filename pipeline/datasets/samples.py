"""Training and evaluation samples as torch data sets."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import Dataset

from pipeline.artifacts.rows import TrainRow
from pipeline.config import Datasets
from pipeline.datasets import DatasetError
from pipeline.datasets.images import open_image, open_mask
from pipeline.datasets.protocol_file import Protocol
from pipeline.datasets.saliency import THRESHOLD, open_saliency
from pipeline.datasets.tasks import IGNORE, Rule, label_map, select_labels
from pipeline.datasets.transforms import ScaleGeometry, TrainGeometry, eval_geometry, normalise

CACHE_IMAGES = 6000
"""Decoded images kept per process; MiniVOC fits whole, so that a CPU trains instead of decoding."""
TRUE_ROLES = ("memory", "joint")
CACHE_PIXELS = 64_000
"""Larger images are decoded again instead of being kept."""


class TrainListDataset(Dataset[dict[str, Any]]):
    """Items of a training list.

    Each is a dict: image (float32 3xSxS), mask (int64 SxS, channel ids or 255), labels (float32, one entry per
    known foreground class in channel order), image_id, role. A `web` image has no mask: it is void all
    over. Exemplars (`memory`) and images of `joint` training show the true labels of every class so far. A `replay`
    image's mask holds channel ids already, and its labels are the old classes in the crop
    (web_wilss.md 5.1). Geometry depends on (seed, epoch, index) alone.

    With a `saliency` folder of maps `<image_id>.png`, each item also has saliency (bool SxS, true where the map
    reaches `saliency_threshold`) under the mask's geometry. An image without a map is a DatasetError.
    """

    def __init__(
        self,
        rows: Sequence[TrainRow],
        protocol: Protocol,
        settings: Datasets,
        rule: Rule,
        seed: int,
        all_labels: bool = False,
        saliency: Path | None = None,
        saliency_threshold: float = THRESHOLD,
    ) -> None:
        self.rows, self.settings, self.seed = list(rows), settings, seed
        sequential = protocol.setting == "sequential"
        self.all_labels = all_labels or sequential
        self.saliency, self.saliency_threshold = saliency, saliency_threshold
        self._task = (protocol.dataset, protocol.task, protocol.step)
        self._n_channels = len(protocol.order)
        self._table = label_map(*self._task, "train", rule, keep_old=sequential)
        self._known_table = label_map(*self._task, "test", rule)
        self._n_classes = protocol.n_classes
        self._epoch = 0
        self.show_ids = False
        """Whether masks show the data set's class ids instead of channels."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose crops are drawn."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.rows[index]
        rng = random.Random(f"{self.seed}/{self._epoch}/{index}")
        image = _picture(row["image"])
        size, area = self.settings.train_size, self.settings.train_area
        geometry: TrainGeometry | ScaleGeometry = (
            TrainGeometry.draw(*image.size, size, rng, area)
            if self.settings.train_crop == "published"
            else ScaleGeometry.draw(*image.size, size, rng)
        )
        if row["mask"]:
            margin = 0 if self.settings.train_crop == "ssul" else IGNORE
            values = geometry.labels(Image.fromarray(_mask(row["mask"])), margin).numpy()
        else:
            values = np.full((size, size), IGNORE, np.uint8)
        item = {
            "image": normalise(geometry.picture(image)),
            "mask": torch.from_numpy(self._channels(row["role"], values).astype(np.int64)),
            "labels": torch.from_numpy(self._labels(row, values)),
            "image_id": row["image_id"],
            "role": row["role"],
        }
        if self.saliency is not None:
            item["saliency"] = self._salient(self.saliency / f"{row['image_id']}.png", image.size, geometry)
        return item

    def _salient(self, path: Path, size: tuple[int, int], geometry: TrainGeometry | ScaleGeometry) -> torch.Tensor:
        salient = _saliency(str(path), self.saliency_threshold)
        if salient.shape != size[::-1]:
            raise DatasetError(
                f"saliency map {path} is {salient.shape[1]}x{salient.shape[0]}, its image {size[0]}x{size[1]}; "
                "delete it and run the rule `detect_saliency` again"
            )
        return geometry.labels(Image.fromarray(salient.astype(np.uint8)), 0).bool()

    def _channels(self, role: str, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self.show_ids:
            return values
        if role == "dataset":
            return self._table[values]
        return self._known_table[values] if role in TRUE_ROLES else values

    def _labels(self, row: TrainRow, values: NDArray[np.uint8]) -> NDArray[np.float32]:
        if row["role"] == "replay":
            vector = np.zeros(self._n_channels - 1, np.float32)
            vector[[v - 1 for v in np.unique(values) if 0 < v < self._n_channels]] = 1
            return vector
        raw = np.zeros(self._n_classes, np.float32)
        raw[[c - 1 for c in row["labels"]]] = 1
        return select_labels(raw, *self._task, all_labels=self.all_labels)


class EvalDataset:
    """Validation images of a protocol: image (tensor), mask (uint8, the step's labels of the split), image_id.

    `size` is the side of the centre crop; None evaluates whole images, whose sizes differ. `test` labels every class
    so far, `val` those of the step alone.
    """

    def __init__(
        self, protocol: Protocol, size: int | None, rule: Rule = "wilson", split: Literal["val", "test"] = "test"
    ) -> None:
        self.rows, self.size = protocol.val, size
        self._table = label_map(protocol.dataset, protocol.task, protocol.step, split, rule)
        self._n_classes = protocol.n_classes

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.rows[index]
        image = eval_geometry(open_image(row.image), self.size)
        mask = eval_geometry(Image.fromarray(open_mask(row.mask, self._n_classes)), self.size, nearest=True)
        return {
            "image": normalise(image),
            "mask": self._table[np.asarray(mask)],
            "image_id": row.id,
        }

    def batches(
        self, batch_size: int, rank: int = 0, world_size: int = 1
    ) -> Iterator[tuple[list[dict[str, Any]], torch.Tensor]]:
        """Yield a process's batches: items in order, and their images stacked (B, 3, H, W).

        Whole images differ in size and come one by one.
        """
        size = batch_size if self.size is not None else 1
        for start in range(rank * size, len(self), world_size * size):
            items = [self[i] for i in range(start, min(start + size, len(self)))]
            yield items, torch.stack([item["image"] for item in items])


_PICTURES: dict[str, Image.Image] = {}
_MASKS: dict[str, NDArray[np.uint8]] = {}
_SALIENCY: dict[tuple[str, float], NDArray[np.bool_]] = {}


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


def _saliency(path: str, threshold: float) -> NDArray[np.bool_]:
    key = (path, threshold)
    if key in _SALIENCY:
        return _SALIENCY[key]
    salient = open_saliency(path, threshold)
    if salient.size <= CACHE_PIXELS and len(_SALIENCY) < CACHE_IMAGES:
        _SALIENCY[key] = salient
    return salient
