"""Small data sets in the layouts of the official archives, with masks that the tests know."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (40, 32)


def draw(ids: Sequence[int], void: int | None = 255) -> np.ndarray:
    """A mask (32, 40): a vertical stripe per class over background, the first row void."""
    mask = np.zeros(SIZE[::-1], np.uint8)
    for column, class_id in enumerate(ids):
        mask[:, 2 + 6 * column : 6 + 6 * column] = class_id
    if void is not None:
        mask[0] = void
    return mask


def photo(path: Path, mask: np.ndarray) -> None:
    """An image whose colours follow the mask."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.stack([mask * 7, 255 - mask, mask * 3], axis=-1).astype(np.uint8)
    Image.fromarray(pixels).save(path)


def grey(path: Path, mask: np.ndarray) -> None:
    """A mask as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)


def official_voc(root: Path, n_sbd: int = 46, n_voc: int = 10, n_val: int = 21) -> dict[str, np.ndarray]:
    """VOCdevkit/VOC2012 with SBD beside it; returns the mask of each image.

    SBD's archive also lists VOC's validation images, as the real one does.
    """
    from scipy.io import savemat

    masks = {}
    names = [f"2008_{i:06d}" for i in range(n_sbd + n_voc + n_val)]
    sbd, voc = names[:n_sbd], names[n_sbd:]
    for i, name in enumerate(names):
        masks[name] = draw([i % 20 + 1, (3 * i) % 20 + 1], void=None if name in sbd else 255)
        photo(root / "JPEGImages" / f"{name}.jpg", masks[name])
    for name in voc:
        grey(root / "SegmentationClass" / f"{name}.png", masks[name])
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("".join(f"{n}\n" for n in voc[:n_voc]))
    (lists / "val.txt").write_text("".join(f"{n}\n" for n in voc[n_voc:]))
    cls = root / "benchmark_RELEASE" / "dataset" / "cls"
    cls.mkdir(parents=True)
    for name in sbd:
        savemat(cls / f"{name}.mat", {"GTcls": {"Segmentation": masks[name], "Boundaries": np.zeros(3)}})
    (cls.parent / "train.txt").write_text("".join(f"{n}\n" for n in sbd[::2]))
    (cls.parent / "val.txt").write_text("".join(f"{n}\n" for n in sbd[1::2] + voc[n_voc : n_voc + 5]))
    return masks


def ade(root: Path, n_train: int = 160, n_val: int = 20) -> dict[str, np.ndarray]:
    """ADEChallengeData2016: the first training image shows class 0 alone."""
    masks = {}
    for folder, n in (("training", n_train), ("validation", n_val)):
        for i in range(n):
            name = f"ADE_{folder[:-3]}_{i:08d}"
            ids = [i % 150 + 1, (i + 75) % 150 + 1, (7 * i) % 150 + 1]
            masks[name] = draw([] if (i, folder) == (0, "training") else ids, void=None)
            photo(root / "images" / folder / f"{name}.jpg", masks[name])
            grey(root / "annotations" / folder / f"{name}.png", masks[name])
    (root / "images" / "training" / ".DS_Store").write_bytes(b"x")
    return masks


def official_coco(root: Path, n_train: int = 90, n_val: int = 12, split_files: bool = True) -> dict[str, np.ndarray]:
    """COCO 2017 with COCO-Stuff's maps: value v is thing v + 1 up to 90, higher values are stuff.

    Returns what the masks must become. Every third training image shows no class of VOC.
    """
    from pipeline.datasets.readers.class_names import COCO
    from pipeline.datasets.tasks.tables import VOC_TO_COCO

    used, of_voc = sorted(COCO), sorted(VOC_TO_COCO.values())
    base = [c for c in used if c not in of_voc]
    masks = {}
    for split, n in (("train", n_train), ("val", n_val)):
        names = [f"{(37 * i) % n + (n_train if split == 'val' else 0):012d}" for i in range(n)]
        for i, name in enumerate(names):
            ids = [base[i % 60]] if i % 3 == 0 else [base[i % 60], of_voc[i % 20]]
            wanted = draw(ids)
            masks[name] = wanted
            raw = np.where(wanted == 0, 120, wanted - 1).astype(np.uint8)
            raw[wanted == 255] = 255
            photo(root / "images" / f"{split}2017" / f"{name}.jpg", wanted)
            grey(root / "stuffthingmaps" / f"{split}2017" / f"{name}.png", raw)
        if split_files:
            (root / "split").mkdir(exist_ok=True)
            (root / "split" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
    return masks


def own(
    root: Path, n: int = 40, classes: Sequence[str] = ("background", "nut", "bolt", "washer", "gear")
) -> dict[str, np.ndarray]:
    """A user's folder: images/, masks/, classes.txt; returns the mask of each image."""
    masks = {f"part{i:03d}": draw([i % (len(classes) - 1) + 1, 1]) for i in range(n)}
    for name, mask in masks.items():
        photo(root / "images" / f"{name}.png", mask)
        grey(root / "masks" / f"{name}.png", mask)
    (root / "classes.txt").write_text("\n".join(classes) + "\n")
    return masks
