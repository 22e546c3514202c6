"""Saliency maps of a split as PNG files and an index; finished maps are kept between calls."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pipeline.artifacts import SALIENCY, atomic_path, write_table
from pipeline.artifacts.rows import SaliencyRow
from pipeline.datasets import DatasetError
from pipeline.datasets.images import open_image, read_bytes
from pipeline.datasets.readers.voc import Item
from pipeline.runtime.progress import Progress
from pipeline.saliency import STAGE_VERSION
from pipeline.saliency.weights import known

Detector = Callable[[Image.Image], NDArray[np.uint8]]


def detect_saliency(
    items: Sequence[Item],
    folder: Path,
    out: Path,
    model: str = "u2netp",
    threads: int = 1,
    weights: Path | None = None,
    detector: Detector | None = None,
) -> None:
    """Write `folder`/<image id>.png (uint8 0..255, the image's size) for every item, then the index `out`.

    A map is kept if it was made from the same image bytes by the same weights and stage version. An image that
    cannot be decoded gets status `failed` with a reason, and no map. Raises SaliencyError if the model cannot
    be loaded.
    """
    maker = _MapMaker(folder, known(model).sha256)
    finished = {item.image_id: row for item in items if (row := maker.kept(item))}
    missing = [item for item in items if item.image_id not in finished]
    if missing:
        if detector is None:
            from pipeline.saliency.u2net import U2Net

            detector = U2Net(model, weights)
        maker.detector = detector
        progress = Progress("saliency", len(items))
        progress.start_from(len(finished))
        for row in _in_threads(maker.make, missing, threads):
            finished[row["image_id"]] = row
            progress.update()
    about = {"model": model, "version": STAGE_VERSION, **asdict(known(model))}
    write_table(out, [finished[item.image_id] for item in items], SALIENCY, provenance=about)


class _MapMaker:
    """Makes one map at a time; a map's PNG says what it was made of."""

    def __init__(self, folder: Path, weights: str) -> None:
        self.folder, self._weights = folder, weights
        self.detector: Detector | None = None

    def kept(self, item: Item) -> SaliencyRow | None:
        """Return the row of an item whose map is there and up to date, else None."""
        try:
            with Image.open(self._path(item)) as image:
                image.load()
                about = dict(image.info)
            if any(about.get(key) != value for key, value in self._stamp(item).items()):
                return None
            return _row(item, seconds=float(about["seconds"]))
        except (OSError, SyntaxError, ValueError, KeyError):
            return None

    def make(self, item: Item) -> SaliencyRow:
        """Write the map of an item and return its row."""
        assert self.detector is not None
        started = time.monotonic()
        try:
            image = open_image(item.image)
        except DatasetError as error:
            # A map of what the file held before would be read as if it were this image's.
            self._path(item).unlink(missing_ok=True)
            return _row(item, time.monotonic() - started, str(error))
        values = self.detector(image)
        seconds = round(time.monotonic() - started, 4)
        text = PngInfo()
        for key, value in {**self._stamp(item), "seconds": str(seconds)}.items():
            text.add_text(key, value)
        with atomic_path(self._path(item)) as temporary:
            Image.fromarray(values).save(temporary, format="PNG", pnginfo=text)
        return _row(item, seconds)

    def _path(self, item: Item) -> Path:
        return self.folder / f"{item.image_id}.png"

    def _stamp(self, item: Item) -> dict[str, str]:
        source = hashlib.sha256(read_bytes(item.image)).hexdigest()
        return {"source": source, "weights": self._weights, "version": str(STAGE_VERSION)}


def _row(item: Item, seconds: float, reason: str = "") -> SaliencyRow:
    status = "failed" if reason else "kept"
    return {"image_id": item.image_id, "status": status, "reason": reason, "seconds": seconds}


def _in_threads(make: Callable[[Item], SaliencyRow], items: Sequence[Item], threads: int) -> Iterable[SaliencyRow]:
    pool = ThreadPoolExecutor(threads)
    try:
        yield from pool.map(make, items)
    finally:
        # After an error or Ctrl-C the images still waiting are not worth minutes.
        pool.shutdown(cancel_futures=True)
