"""`prepare`: derive, look at everything, compare with the reference, record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import write_json, write_text
from pipeline.config import nearest
from pipeline.datasets import DatasetError, reference
from pipeline.datasets.prepare.checksums import check_checksums
from pipeline.datasets.prepare.inspection import Report, inspect_split, one_hot
from pipeline.datasets.prepare.sources import ADE, COCO_STUFF, COCO_TRAIN, COCO_VAL, missing
from pipeline.datasets.prepare.voc_masks import derive_as_coco, derive_voc, remap_masks
from pipeline.datasets.readers.base import Reader
from pipeline.datasets.readers.coco import FOLDERS, Coco, CocoVoc
from pipeline.datasets.readers.registry import open_dataset
from pipeline.datasets.readers.voc import Voc
from pipeline.datasets.split_lists import fingerprint

SHOWN = 20
"""Problems listed in the error before the rest is counted."""


@dataclass(frozen=True)
class Options:
    """How to prepare: SBD's folder, whether the data is a part of the whole, whether to build checksums."""

    sbd: Path | None = None
    subset: bool = False
    checksums: bool = True


def prepare(name: str, root: Path, options: Options) -> Report:
    """Check a downloaded data set, write what is derived, then prepared.json and classes.txt; return the report.

    Everything derived is written only where it is missing. Raises DatasetError listing the problems: a missing
    official file (with its page), wrong counts, unreadable or changed files.
    """
    if name not in _PREPARE:
        raise DatasetError(f"data set `{name}` needs no preparation; {nearest(name, _PREPARE)}")
    report = Report()
    _PREPARE[name](root, options, report)
    report.numbers |= {"dataset": name, "lines": report.lines, "problems": report.problems}
    write_json(root / "prepared.json", report.numbers)
    if report.problems:
        rest = f"\n  and {len(report.problems) - SHOWN} more" if len(report.problems) > SHOWN else ""
        raise DatasetError(f"{len(report.problems)} problems:\n  " + "\n  ".join(report.problems[:SHOWN]) + rest)
    if not (root / "classes.txt").exists():
        names = open_dataset(name, root).class_names()
        lines = ["background", *(names.get(i, "-") for i in range(1, max(names) + 1))]
        write_text(root / "classes.txt", "\n".join(lines) + "\n")
    return report


def _voc(root: Path, options: Options, report: Report) -> None:
    derive_voc(root, options.sbd, report)
    shown = _inspect(Voc(root), options, report)
    if shown is None:
        return
    reader = Voc(root)
    for split, table in shown.items():
        one_hot(reader.one_hot(split), table, report)
        found = table.sum(axis=0).tolist()
        report.expect(f"{split}: images per class", found, list(reference.VOC_CLASS_IMAGES[split]), options.subset)
    if options.subset:
        return
    for (task, setting, step), expected in reference.VOC_LIST_MD5.items():
        found = fingerprint(reader.select(shown["train"], task, step, setting))
        report.expect(f"list {task} {setting} step {step}", found, expected, options.subset)


def _ade(root: Path, options: Options, report: Report) -> None:
    for folder in ("images/training", "images/validation", "annotations/training", "annotations/validation"):
        if not (root / folder).is_dir():
            raise missing(root / folder, ADE, f"so that its ADEChallengeData2016/ is {root}")
    reader = open_dataset("ade", root)
    shown = _inspect(reader, options, report)
    for split, table in (shown or {}).items():
        path = reader.one_hot(split)
        assert path is not None
        one_hot(path, table, report)
        if split == "train":
            empty = int((~table.any(axis=1)).sum())
            report.expect("train: images of class 0 alone", empty, reference.ADE_EMPTY_TRAIN, options.subset)


def _coco(root: Path, options: Options, report: Report) -> None:
    reader = Coco(root)
    table = np.zeros(256, np.uint8)
    table[:91], table[255] = np.arange(1, 92), 255
    for split, source in (("train", COCO_TRAIN), ("val", COCO_VAL)):
        if not (root / "images" / FOLDERS[split]).is_dir():
            raise missing(root / "images" / FOLDERS[split], source, f"in {root}/images")
        items = reader.items(split)
        stuff = root / "stuffthingmaps" / FOLDERS[split]
        if not stuff.is_dir() and any(not Path(item.mask).exists() for item in items):
            raise missing(stuff, COCO_STUFF, f"in {root}/stuffthingmaps; the masks of {split} are made from it")
        remap_masks([(stuff / Path(item.mask).name, Path(item.mask)) for item in items], table, 254, report)
        if not (root / "split" / f"{split}.txt").exists():
            report.say(f"note: no split/{split}.txt, images are in name order; the originals' index lists do not apply")
    shown = _inspect(reader, options, report)
    for split, labels in (shown or {}).items():
        one_hot(reader.one_hot(split), labels, report)
    if any("expected 0..91 or 255" in problem for problem in report.problems):
        report.problems.append(f"{root}/annotations seems to hold unmapped COCO-Stuff masks: rename it stuffthingmaps")


def _coco_voc(root: Path, options: Options, report: Report) -> None:
    _voc(root / "voc", options, report)
    _coco(root / "coco", options, report)
    voc, reader = Voc(root / "voc"), CocoVoc(root)
    for split in ("train", "val"):
        derive_as_coco(root / "voc", voc.items(split), report)
    if report.problems:
        return
    for split in ("train", "val"):
        table = reader.presence(f"{split}_voc", reader.items(f"{split}_voc"))
        one_hot(root / "voc" / f"cocovoc_1h_labels_{split}.npy", table, report)
    base = reader.select(reader.presence("train", reader.items("train")), "voc", 0, "disjoint").size
    report.expect(
        "COCO images without a class of VOC", base, reference.TRAIN["coco-voc", "voc", "disjoint"][0], options.subset
    )


_PREPARE: dict[str, Callable[[Path, Options, Report], None]] = {
    "voc": _voc, "ade": _ade, "coco": _coco, "coco-voc": _coco_voc,
}  # fmt: skip


def _inspect(reader: Reader, options: Options, report: Report) -> dict[str, NDArray[np.bool_]] | None:
    """Look at both splits; return the classes shown per split, or None if something cannot be read."""
    tables = {}
    files: list[Path] = []
    for split in ("train", "val"):
        items = reader.items(split)
        report.numbers.setdefault("counts", {})[f"{reader.name} {split}"] = len(items)
        report.expect(f"{split}: images", len(items), reference.IMAGES[reader.name, split], options.subset)
        tables[split] = inspect_split(reader, split, items, report)
        files += [Path(path) for item in items for path in (item.image, item.mask)]
    if any(table is None for table in tables.values()):
        return None
    if options.checksums:
        check_checksums(reader.root, files, report)
    return {split: table[:, 1:-1] > 0 for split, table in tables.items() if table is not None}
