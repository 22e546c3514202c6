"""ADE20K, the scene parsing release ADEChallengeData2016 (ciss_methods.md 2.1)."""

from __future__ import annotations

from pathlib import Path

from pipeline.datasets import DatasetError
from pipeline.datasets.readers import class_names
from pipeline.datasets.readers.base import Item, Reader

FOLDERS = {"train": "training", "val": "validation"}


class Ade(Reader):
    """`images/{training,validation}` and `annotations/{training,validation}`; mask value v is class v, 0 is other."""

    name = "ade"
    n_classes = 150

    def class_names(self) -> dict[int, str]:
        """Return the names of classes 1..150."""
        return {i: name for i, name in enumerate(class_names.ADE) if i}

    def items(self, split: str) -> list[Item]:
        """Return the images of a split, sorted by name; names beginning with a dot are skipped."""
        folder = self.root / "images" / FOLDERS[split]
        if not folder.is_dir():
            raise DatasetError(f"folder {folder} does not exist; expected the layout of ADEChallengeData2016")
        files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        if not files:
            raise DatasetError(f"folder {folder} is empty")
        masks = self.root / "annotations" / FOLDERS[split]
        return [Item(path.stem, str(path), str(masks / f"{path.stem}.png")) for path in files]

    def one_hot(self, split: str) -> Path:
        """Return the file that `prepare` writes."""
        return self.root / f"ade_1h_labels_{split}.npy"
