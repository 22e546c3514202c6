"""A user's own data: a folder of images, a folder of masks and a class list."""

from __future__ import annotations

from pathlib import Path

from pipeline.datasets import DatasetError
from pipeline.datasets.readers.base import Item, Reader
from pipeline.datasets.readers.voc import read_pairs
from pipeline.datasets.tasks import OWN

MAX_CLASS = 254
LAYOUT = "images/<name>.jpg, masks/<name>.png (value = class id, 255 = void) and classes.txt"


class Own(Reader):
    """`images/`, `masks/`, `classes.txt` (line i names class i, the first is background), `splits/`, `tasks.yaml`.

    The last two are written by `python -m pipeline.datasets init`. Raises DatasetError if there is no class list.
    """

    name = "own"

    def __init__(self, root: str | Path) -> None:
        super().__init__(root)
        self._names = read_classes(self.root)
        self.n_classes = max(self._names)  # type: ignore[misc]

    @property
    def key(self) -> str:
        """`own:` and the folder, where tasks.yaml lies."""
        return f"{OWN}{self.root}"

    def class_names(self) -> dict[int, str]:
        """Return the names of `classes.txt` from the second line on."""
        return dict(self._names)

    def may_lack_images(self, step: int) -> bool:
        """Return true after step 0: no mask need show a class of `classes.txt`."""
        return step > 0

    def items(self, split: str) -> list[Item]:
        """Return the images of `splits/train.txt` or `splits/val.txt`."""
        path = self.root / "splits" / f"{split}.txt"
        if not path.exists():
            raise DatasetError(f"{path} does not exist; run `python -m pipeline.datasets init {self.root}` first")
        return read_pairs(self.root, path)


def read_classes(root: Path) -> dict[int, str]:
    """Return {class id: name} of the foreground classes of `classes.txt`. Raises DatasetError with its line."""
    path = root / "classes.txt"
    if not path.exists():
        raise DatasetError(
            f"{path} does not exist; expected {LAYOUT}. Write one class name per line, "
            "line 1 `background`, line 2 the name of mask value 1, and so on"
        )
    names = [line.strip() for line in path.read_text().rstrip().split("\n")]
    if "" in names:
        raise DatasetError(f"{path}:{names.index('') + 1}: empty line; every line names a class")
    if len(names) < 2:
        raise DatasetError(f"{path} names {len(names)} class, expected background and at least one more")
    if len(names) > MAX_CLASS + 1:
        raise DatasetError(f"{path} names {len(names)} classes, at most {MAX_CLASS + 1} fit into a mask of 8 bits")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DatasetError(f"{path} names {twice[0]!r} more than once")
    return dict(enumerate(names[1:], 1))
