"""MiniVOC: drawn scenes on disk in VOC's own layout, so that the VOC code path is the one that runs."""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.artifacts import atomic_dir
from pipeline.miniweb.drawing import CLASS_NAMES, draw_scene, sample_class_ids
from pipeline.runtime.progress import Progress

SIZES = ((128, 96), (128, 96), (120, 96), (112, 96), (96, 120))
"""Width and height of images; most are landscape, as in VOC."""
_TAG = 0x5EED


def build_minivoc(root: Path, *, seed: int, n_train: int, n_val: int, workers: int = 2) -> None:
    """Write JPEGImages/, SegmentationClassAug/, splits/ and classes.txt under `root`, atomically.

    Image i of a split depends on (seed, split, i) alone. A complete data set of the same arguments is left
    alone; anything else at `root` is replaced.
    """
    root = Path(root)
    about = {"seed": seed, "train": n_train, "val": n_val, "version": 1}
    if _complete(root, about):
        return
    jobs = [(split, i) for split, n in (("train", n_train), ("val", n_val)) for i in range(n)]
    with atomic_dir(root) as folder:
        for name in ("JPEGImages", "SegmentationClassAug", "splits"):
            (folder / name).mkdir()
        progress = Progress("minivoc", len(jobs))
        with ProcessPoolExecutor(workers) as pool:
            for _ in pool.map(partial(_draw, folder, seed), jobs, chunksize=32):
                progress.update()
        for split, file in (("train", "train_aug.txt"), ("val", "val.txt")):
            ids = [image_id(split, i) for s, i in jobs if s == split]
            lines = [f"/JPEGImages/{name}.jpg /SegmentationClassAug/{name}.png\n" for name in ids]
            (folder / "splits" / file).write_text("".join(lines))
        (folder / "about.json").write_text(json.dumps(about))
        (folder / "classes.txt").write_text("\n".join(CLASS_NAMES) + "\n")


def image_id(split: str, index: int) -> str:
    """Return the id of an image; training and validation ids never meet."""
    return f"mini_{index:06d}" if split == "train" else f"mini_{index + 500000:06d}"


def palette() -> list[int]:
    """Return VOC's colour map as 768 values: the bits of the id, dealt out to R, G and B."""
    colours = []
    for value in range(256):
        rgb, bits = [0, 0, 0], value
        for shift in range(7, -1, -1):
            for channel in range(3):
                rgb[channel] |= (bits >> channel & 1) << shift
            bits >>= 3
        colours += rgb
    return colours


def _complete(root: Path, about: dict[str, int]) -> bool:
    try:
        found = json.loads((root / "about.json").read_text())
    except (OSError, json.JSONDecodeError):
        return False
    return bool(found == about) and (root / "classes.txt").exists() and (root / "splits" / "val.txt").exists()


def _draw(folder: Path, seed: int, job: tuple[str, int]) -> None:
    split, index = job
    rng = np.random.default_rng(np.random.SeedSequence((_TAG, seed, split == "val", index)))
    classes = sample_class_ids(rng, main_class=index % 20 + 1)
    scene = draw_scene(rng, classes, size=SIZES[int(rng.integers(len(SIZES)))])
    name = image_id(split, index)
    scene.image.save(folder / "JPEGImages" / f"{name}.jpg", quality=92, subsampling=0)
    mask = Image.fromarray(scene.mask)
    mask.putpalette(palette())
    mask.save(folder / "SegmentationClassAug" / f"{name}.png")
