"""VOC's augmented masks and lists from the official VOC and SBD archives, and VOC's masks in COCO ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.artifacts import atomic_path, write_text
from pipeline.datasets import DatasetError
from pipeline.datasets.images import open_mask
from pipeline.datasets.prepare.inspection import Report
from pipeline.datasets.prepare.sources import SBD, VOC, missing
from pipeline.datasets.readers.base import Item
from pipeline.datasets.readers.coco import AS_COCO
from pipeline.datasets.readers.voc import N_CLASSES, SPLITS
from pipeline.datasets.tasks.tables import VOC_TO_COCO
from pipeline.runtime.progress import Progress

AUG = "SegmentationClassAug"
_SBD_PLACES = ("benchmark_RELEASE/dataset", "SBD/dataset", "SBD", "dataset")


def derive_voc(root: Path, sbd: Path | None, report: Report) -> None:
    """Write `splits/` and `SegmentationClassAug/` as far as they are missing.

    Raises DatasetError naming the official file that is needed and not there.
    """
    if not (root / "JPEGImages").is_dir():
        raise missing(root / "JPEGImages", VOC, f"so that its VOCdevkit/VOC2012/ is {root} (or pass that as --root)")
    sbd = sbd or next((root / place for place in _SBD_PLACES if (root / place / "cls").is_dir()), None)
    for split, listing in (("val", _val_ids), ("train", _train_ids)):
        _write_list(root, split, lambda get=listing: get(root, sbd), report)  # type: ignore[misc]
    ids = sorted({name for split in SPLITS for name in _listed(root, split)})
    lacking = [name for name in ids if not (root / AUG / f"{name}.png").exists()]
    if not lacking:
        report.say(f"{AUG}/: {len(ids)} masks")
        return
    progress = Progress("augmented masks", len(lacking), unit="masks")
    for name in lacking:
        save_mask(root / AUG / f"{name}.png", _augmented(root, sbd, name))
        progress.update()
    report.say(f"derived {AUG}/: {len(lacking)} masks of {len(ids)}")


def derive_as_coco(root: Path, items: Sequence[Item], report: Report) -> None:
    """Write `SegmentationClassAugAsCoco/`, VOC's masks in COCO ids, as far as it is missing (web_wilss.md 2.2)."""
    table = np.zeros(256, np.uint8)
    table[255] = 255
    for voc_id, coco_id in VOC_TO_COCO.items():
        table[voc_id] = coco_id
    remap_masks([(Path(item.mask), root / AS_COCO / Path(item.mask).name) for item in items], table, 20, report)


def remap_masks(pairs: Sequence[tuple[Path, Path]], table: NDArray[np.uint8], highest: int, report: Report) -> None:
    """Write each second mask from the first through a table of 256 ids, where it does not exist yet."""
    lacking = [pair for pair in pairs if not pair[1].exists()]
    folder = pairs[0][1].parent
    if not lacking:
        report.say(f"{folder.name}/: {len(pairs)} masks")
        return
    progress = Progress(f"masks of {folder.name}", len(lacking), unit="masks")
    for source, target in lacking:
        save_mask(target, table[open_mask(str(source), highest)])
        progress.update()
    report.say(f"derived {folder}/: {len(lacking)} masks of {len(pairs)}")


def save_mask(path: Path, mask: NDArray[np.uint8]) -> None:
    """Write a mask as a grey PNG, atomically."""
    with atomic_path(path) as temporary:
        Image.fromarray(mask).save(temporary, format="PNG")


def read_sbd(path: Path) -> NDArray[np.uint8]:
    """Return the class mask (H, W) of an SBD .mat file. Raises DatasetError if it is not one, or without scipy."""
    try:
        from scipy.io import loadmat
    except ImportError:
        raise DatasetError(f"{path} is a MATLAB file; reading it needs scipy: pip install scipy") from None
    try:
        loaded: Any = loadmat(path)["GTcls"]["Segmentation"][0, 0]
    except (ValueError, KeyError, IndexError, TypeError, NotImplementedError) as error:
        raise DatasetError(
            f"{path} is not an SBD mask (GTcls.Segmentation): {error}; unpack the archive again"
        ) from None
    mask = np.asarray(loaded)
    if mask.ndim != 2 or mask.max(initial=0) > N_CLASSES:
        raise DatasetError(
            f"{path} holds an array {mask.shape} up to {mask.max(initial=0)}, expected ids 0..{N_CLASSES}"
        )
    return mask.astype(np.uint8)


def _augmented(root: Path, sbd: Path | None, name: str) -> NDArray[np.uint8]:
    # VOC's own masks win: they have void borders and SBD's have not.
    official = root / "SegmentationClass" / f"{name}.png"
    if official.exists():
        return open_mask(str(official), N_CLASSES)
    if sbd is None:
        raise missing(root / "benchmark_RELEASE/dataset/cls", SBD, f"in {root} (or name its dataset/ by --sbd)")
    return read_sbd(_existing(sbd / "cls" / f"{name}.mat", "SBD's archive is incomplete; unpack it again"))


def _write_list(root: Path, split: str, ids: Callable[[], list[str]], report: Report) -> None:
    path = root / "splits" / SPLITS[split]
    if path.exists():
        return
    names = ids()
    write_text(path, "".join(f"/JPEGImages/{name}.jpg /{AUG}/{name}.png\n" for name in names))
    report.say(f"derived splits/{SPLITS[split]}: {len(names)} images")


def _val_ids(root: Path, sbd: Path | None) -> list[str]:
    return _official(root, "val")


def _train_ids(root: Path, sbd: Path | None) -> list[str]:
    """Everything segmented by VOC's train list or by SBD, less VOC's val."""
    if sbd is None:
        raise missing(root / "benchmark_RELEASE/dataset", SBD, f"in {root} (or name its dataset/ by --sbd)")
    known = set(_official(root, "train"))
    for name in ("train.txt", "val.txt"):
        known |= set(_existing(sbd / name, "SBD's archive is incomplete; unpack it again").read_text().split())
    return sorted(known - set(_official(root, "val")))


def _official(root: Path, split: str) -> list[str]:
    path = root / "ImageSets" / "Segmentation" / f"{split}.txt"
    if not path.exists():
        raise missing(path, VOC, f"so that its VOCdevkit/VOC2012/ is {root}")
    return path.read_text().split()


def _listed(root: Path, split: str) -> list[str]:
    lines = (root / "splits" / SPLITS[split]).read_text().split("\n")
    return [Path(line.split()[0]).stem for line in lines if line.strip()]


def _existing(path: Path, hint: str) -> Path:
    if not path.exists():
        raise DatasetError(f"{path} does not exist; {hint}")
    return path
