"""COCO 2017 with its 80 object classes as masks, and COCO-to-VOC (web_wilss.md 2.1 to 2.8)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets import DatasetError
from pipeline.datasets.readers import class_names
from pipeline.datasets.readers.base import Item, Reader, require_files
from pipeline.datasets.readers.voc import Voc
from pipeline.datasets.tasks import canonical_task, classes_per_step, select_images
from pipeline.datasets.tasks.tables import VOC_TO_COCO

N_CLASSES = 91
FOLDERS = {"train": "train2017", "val": "val2017"}
AS_COCO = "SegmentationClassAugAsCoco"


class Coco(Reader):
    """`images/`, `annotations/` (remapped masks, 0 background, ids 1..90) and `split/{train,val}.txt`.

    A split file holds one 12-digit id per line; index lists of the originals refer to its lines.
    Without it the images are taken in name order.
    """

    name = "coco"
    n_classes = N_CLASSES

    def class_names(self) -> dict[int, str]:
        """Return the names of the 80 used ids."""
        return dict(class_names.COCO)

    def items(self, split: str) -> list[Item]:
        """Return the images of a split in the order of its split file, else by name."""
        images, masks = (self.root / kind / FOLDERS[split] for kind in ("images", "annotations"))
        if not images.is_dir():
            raise DatasetError(f"folder {images} does not exist; expected the layout of COCO 2017")
        listed = self.root / "split" / f"{split}.txt"
        names = listed.read_text().split() if listed.exists() else sorted(path.stem for path in images.glob("*.jpg"))
        items = [Item(name, f"{images}/{name}.jpg", f"{masks}/{name}.png") for name in names]
        if not items:
            raise DatasetError(f"{listed if listed.exists() else images} names no image")
        return require_files(items, listed)

    def one_hot(self, split: str) -> Path:
        """Return the file of the originals."""
        return self.root / f"1h_labels_{split}.npy"


class VocAsCoco(Voc):
    """VOC images with masks in COCO's ids, as `prepare coco-voc` writes them."""

    n_classes = N_CLASSES

    def items(self, split: str) -> list[Item]:
        """Return VOC's images with the masks of `SegmentationClassAugAsCoco/`."""
        return [
            Item(item.image_id, item.image, f"{self.root}/{AS_COCO}/{Path(item.mask).name}")
            for item in super().items(split)
        ]

    def presence(self, split: str, items: Sequence[Item]) -> NDArray[np.bool_]:
        """Return bool (images, 91), translated from VOC's own table."""
        shown = Voc(self.root).presence(split, super().items(split))
        table = np.zeros((len(items), N_CLASSES), bool)
        for voc_id, coco_id in VOC_TO_COCO.items():
            table[:, coco_id - 1] = shown[:, voc_id - 1]
        return table

    def wrong_labels(self, split: str, items: Sequence[Item]) -> str:
        """Return what is wrong with VOC's own table, from which `presence` translates."""
        return Voc(self.root).wrong_labels(split, super().items(split))


class CocoVoc(Reader):
    """Step 0 from COCO images without VOC's classes, step 1 from VOC's images; `coco/` and `voc/` under the root.

    `val` is COCO's validation set, `val_voc` VOC's with masks in COCO ids.
    """

    name = "coco-voc"
    n_classes = N_CLASSES
    other_sets = ("val_voc",)

    def __init__(self, root: str | Path) -> None:
        super().__init__(root)
        self._coco, self._voc = Coco(self.root / "coco"), VocAsCoco(self.root / "voc")

    def class_names(self) -> dict[int, str]:
        """Return the names of the 80 used COCO ids."""
        return self._coco.class_names()

    def train_split(self, step: int) -> str:
        """Return `train` (COCO) for step 0 and `train_voc` for step 1."""
        return "train_voc" if step else "train"

    def items(self, split: str) -> list[Item]:
        """Return the images of `train`, `val` (COCO) or `train_voc`, `val_voc`."""
        reader, own = self._part(split)
        return reader.items(own)

    def presence(self, split: str, items: Sequence[Item]) -> NDArray[np.bool_]:
        """Return bool (images, 91)."""
        reader, own = self._part(split)
        return reader.presence(own, items)

    def wrong_labels(self, split: str, items: Sequence[Item]) -> str:
        """Return what is wrong with the table of the split's own data set."""
        reader, own = self._part(split)
        return reader.wrong_labels(own, items)

    def select(self, shown: NDArray[np.bool_], task: str, step: int, setting: str) -> NDArray[np.int64]:
        """Return step 0: images without a pixel of VOC's classes, pure background included; step 1: every image.

        web_wilss.md 2.4; the setting makes no difference.
        """
        if canonical_task(self.key, task) != "voc":
            return select_images(shown, self.key, task, step, setting)
        if step:
            return np.arange(len(shown))
        later = [c - 1 for c in classes_per_step(self.key, task)[1]]
        return np.flatnonzero(~shown[:, later].any(axis=1))

    def _part(self, split: str) -> tuple[Reader, str]:
        part = split.removesuffix("_voc")
        return (self._coco if part == split else self._voc), part
