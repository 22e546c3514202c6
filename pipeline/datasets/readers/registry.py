"""Data sets by name."""

from __future__ import annotations

from pathlib import Path

from pipeline.config import nearest
from pipeline.datasets.readers.ade import Ade
from pipeline.datasets.readers.base import Reader
from pipeline.datasets.readers.coco import Coco, CocoVoc
from pipeline.datasets.readers.own import Own
from pipeline.datasets.readers.taught import Taught
from pipeline.datasets.readers.voc import MiniVoc, Voc

READERS: dict[str, type[Reader]] = {cls.name: cls for cls in (Voc, MiniVoc, Ade, Coco, CocoVoc, Own, Taught)}


def open_dataset(name: str, root: str | Path) -> Reader:
    """Return the reader of a data set. Raises ValueError for an unknown name, with the nearest one."""
    if name not in READERS:
        raise ValueError(f"unknown data set `{name}`; {nearest(name, READERS)}")
    return READERS[name](root)
