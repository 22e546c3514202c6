"""What the given model sees in the user's images, and which of them are held out."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pipeline import distributed
from pipeline.artifacts import atomic_dir, write_json, write_text
from pipeline.config import Config
from pipeline.datasets import DatasetError
from pipeline.datasets.images import open_image, open_mask
from pipeline.datasets.readers.base import Item
from pipeline.datasets.readers.own import read_classes
from pipeline.datasets.readers.taught import write_items
from pipeline.datasets.readers.voc import read_pairs
from pipeline.datasets.transforms import normalise
from pipeline.models import load_model
from pipeline.models.inference import predict
from pipeline.runtime.progress import Progress
from pipeline.runtime.threads import use_threads
from pipeline.teach.given import read_given, squeezed

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
MIN_IMAGES = 8
"""Fewer usable images of `like` cannot be divided into what is learnt from and what is held out."""


def look(config: Config, out: Path) -> None:
    """Write masks/, splits/*.tsv and skipped.tsv beside `out`, and last `out`, a record of what was seen.

    Masks of `like` are predictions of the given model at the image's own size; those of `check` are its true masks
    with ids of the taught model's classes, matched by name, others background. An image that cannot be read is a line
    of skipped.tsv. Raises ValueError if too few images are left or the model sees none of its classes in them.
    """
    use_threads()
    root, teach = out.parent, config.teach
    skipped: list[tuple[str, str]] = []
    seen, checked = list[Item](), list[Item]()
    pixels: Counter[int] = Counter()
    with atomic_dir(root / "masks") as folder:
        if teach.like:
            for item, counts in _predicted(config, folder, root, skipped):
                seen.append(item)
                pixels.update(counts)
        if teach.check:
            checked = _checked(Path(teach.check), folder, root)
        _require(seen, pixels, teach.like)
    train, held_out = divide(seen, teach.held_out)
    write_items(root, "train", train)
    write_items(root, "val", checked or held_out)
    if checked and held_out:
        write_items(root, "like", held_out)
    write_text(root / "skipped.tsv", "".join(f"{name}\t{reason}\n" for name, reason in skipped))
    names = {0: "background", **read_classes(root)}
    record = {
        "learnt_from": len(train),
        "held_out": len(held_out),
        "checked": len(checked),
        "skipped": len(skipped),
        "pixels": {names[c]: pixels[c] for c in sorted(pixels)},
    }
    write_json(out, record)


def image_files(folder: Path) -> list[Path]:
    """Return the images of a folder and its subfolders, sorted, hidden ones left out."""
    found = [Path(parent, name) for parent, _, names in os.walk(folder, followlinks=True) for name in names]
    return sorted(p for p in found if p.suffix.lower() in SUFFIXES and not _hidden(p.relative_to(folder)))


def divide(items: Sequence[Item], share: float) -> tuple[list[Item], list[Item]]:
    """Return (learnt from, held out); which image is held out depends on its id alone."""
    draw = sorted(items, key=lambda item: hashlib.sha256(item.image_id.encode()).hexdigest())
    held = {item.image_id for item in draw[: round(share * len(draw))]}
    return [i for i in items if i.image_id not in held], [i for i in items if i.image_id in held]


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _predicted(
    config: Config, folder: Path, root: Path, skipped: list[tuple[str, str]]
) -> Iterator[tuple[Item, Counter[int]]]:
    given = read_given(Path(config.teach.model))
    network = load_model(given.weights).to(distributed.device()).eval()
    files = image_files(Path(config.teach.like))
    names = _ids(files, Path(config.teach.like))
    progress = Progress("look at your images", len(files))
    opened = _opened(files, names, config.pseudolabel.max_side, skipped)
    for (path, name, size), (labels,) in predict(network, opened, lambda z: (z.argmax(dim=1),), progress=progress):
        mask = Image.fromarray(labels.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
        mask.save(folder / f"{name}.png")
        counts = np.bincount(np.asarray(mask).ravel())
        item = Item(name, str(path), str(root / "masks" / f"{name}.png"))
        yield item, Counter({int(c): int(n) for c, n in enumerate(counts) if n})


def _opened(
    files: Sequence[Path], names: Sequence[str], max_side: int, skipped: list[tuple[str, str]]
) -> Iterator[tuple[list[tuple[Path, str, tuple[int, int]]], Tensor]]:
    for path, name in zip(files, names, strict=True):
        if re.search(r"[\t\r\n]", str(path)):
            skipped.append((repr(str(path)), "a tab or line break in its name"))
            continue
        try:
            image = open_image(str(path))
        except DatasetError as error:
            skipped.append((str(path), str(error)))
            continue
        size = image.size
        if max(size) > max_side:
            image.thumbnail((max_side, max_side), Image.Resampling.BILINEAR)
        yield [(path, name, size)], normalise(image)[None]


def _ids(files: Sequence[Path], root: Path) -> list[str]:
    """Return a name of letters and digits for every file, unlike all others."""
    plain = [re.sub(r"[^\w.-]+", "_", path.relative_to(root).with_suffix("").as_posix()) for path in files]
    counts = Counter(plain)
    return [
        name if counts[name] == 1 else f"{name}_{hashlib.sha256(str(path.relative_to(root)).encode()).hexdigest()[:8]}"
        for path, name in zip(files, plain, strict=True)
    ]


def _checked(check: Path, folder: Path, root: Path) -> list[Item]:
    """Write the true masks of `check` with our class ids; return the images."""
    known = {squeezed(name): number for number, name in read_classes(root).items()}
    theirs = read_classes(check)
    table = np.zeros(256, np.uint8)
    table[255] = 255
    for number, name in theirs.items():
        table[number] = known.get(squeezed(name), 0)
    items = []
    for item in check_items(check):
        name = f"check_{item.image_id}"
        mask: NDArray[np.uint8] = table[open_mask(item.mask, max(theirs))]
        Image.fromarray(mask).save(folder / f"{name}.png")
        items.append(Item(name, item.image, str(root / "masks" / f"{name}.png")))
    return items


def check_items(check: Path) -> list[Item]:
    """Return the images of splits/val.txt of a data set's folder, or all of images/ with masks/<name>.png."""
    listed = check / "splits" / "val.txt"
    if listed.is_file():
        return read_pairs(check, listed)
    files = image_files(check / "images")
    items = [Item(p.stem, str(p), str(check / "masks" / f"{p.stem}.png")) for p in files]
    lacking = next((item for item in items if not Path(item.mask).is_file()), None)
    if lacking or not items:
        what = f"mask {lacking.mask} does not exist" if lacking else "images/ holds no image"
        raise DatasetError(f"--check {check}: {what}; expected images/<name>.jpg, masks/<name>.png and classes.txt")
    return items


def _require(seen: Sequence[Item], pixels: Counter[int], like: str) -> None:
    if not like:
        return
    if len(seen) < MIN_IMAGES:
        raise DatasetError(f"{like} has {len(seen)} images that can be read, at least {MIN_IMAGES} are needed")
    if not any(pixels[c] for c in pixels if c):
        raise DatasetError(
            f"the model sees nothing but background in the {len(seen)} images of {like}, which then say nothing about "
            "its classes; give images of the place it was made for, or leave --like out"
        )
