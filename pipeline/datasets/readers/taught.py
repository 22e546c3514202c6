"""Images that a given model is shown when it is taught: what it sees in them stands in for masks (docs/teach.md)."""

from __future__ import annotations

from pathlib import Path

from pipeline.artifacts import write_text
from pipeline.datasets import DatasetError
from pipeline.datasets.readers.base import Item, require_files
from pipeline.datasets.readers.own import Own

SEEN = "seen.json"
"""What was seen: written last, when masks and splits are there."""


class Taught(Own):
    """`classes.txt`, `tasks.yaml` and `splits/{train,val,like}.tsv`, lists of image id, image and mask.

    `pipeline.teach` writes them. `train` and `like` hold the user's unlabelled images, whose masks are predictions of
    the given model; `val` holds images with true masks, or again unlabelled ones if there is no truth.
    """

    name = "taught"

    def __init__(self, root: str | Path) -> None:
        super().__init__(root)
        if list_of(self.root, "like").exists():
            self.other_sets = ("like",)  # type: ignore[misc]

    def may_lack_images(self, step: int) -> bool:
        """Return true after step 0, and at step 0 if the user gave no images."""
        return step > 0 or not self.items("train")

    def items(self, split: str) -> list[Item]:
        """Return the images of a list. Raises DatasetError if it is not there or names a missing image."""
        path = list_of(self.root, split)
        try:
            rows = [line.split("\t") for line in path.read_text().split("\n") if line]
        except FileNotFoundError:
            raise DatasetError(f"{path} does not exist; the rule `look` of `webseg teach` writes it") from None
        if any(len(row) != 3 for row in rows):
            raise DatasetError(f"{path} is damaged: every line holds an id, an image and a mask; delete it and rerun")
        return require_files([Item(*row) for row in rows], path)


def list_of(root: Path, split: str) -> Path:
    """Return where the list of a split lies."""
    return root / "splits" / f"{split}.tsv"


def write_items(root: Path, split: str, items: list[Item]) -> None:
    """Write the list of a split."""
    write_text(list_of(root, split), "".join(f"{i.image_id}\t{i.image}\t{i.mask}\n" for i in items))
