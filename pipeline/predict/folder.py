"""A folder of images through a model: masks, overlays, areas, a gallery, and annotation files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch

from pipeline import __version__
from pipeline.predict import coco, gallery, labelme
from pipeline.predict.areas import AreaRow, Status, area_rows, as_csv
from pipeline.predict.images import ImageError, Pixels, read_pixels
from pipeline.predict.listing import Listed, list_images
from pipeline.predict.out_folder import OutFolder, out_folder
from pipeline.predict.pictures import blend, encoded, overlay, palette_mask
from pipeline.predict.result import Segmentation
from pipeline.predict.segmenter import Segmenter, check_tiling
from pipeline.runtime.cost import Cost
from pipeline.runtime.progress import Progress

Format = Literal["coco", "labelme"]
FORMATS: tuple[Format, ...] = ("coco", "labelme")


@dataclass(frozen=True)
class Options:
    """How a folder is segmented and what is written beside masks, overlays, table and gallery."""

    tile: int = 0
    """Side of the tiles that larger images are cut into; 0 takes them whole."""
    overlap: int | None = None
    """Pixels that neighbouring tiles share; a quarter of the tile by default."""
    batch_size: int = 8
    """Images of one size that are computed together."""
    formats: tuple[Format, ...] = ()
    gallery: int = 200
    """Images that the gallery shows."""
    readers: int = 2
    """Threads that decode images ahead."""


def predict_images(segmenter: Segmenter, images: str, out: Path, options: Options | None = None) -> list[AreaRow]:
    """Segment the images of a folder, glob or file into the folder `out`; return the rows of its areas.csv.

    Writes masks/*.png, overlays/*.jpg, areas.csv, index.html and predict.json; with their formats also coco.json and
    labelme/*.json. An image that cannot be read or computed is a row with its reason. Raises ValueError, with nothing
    written, if no image could be segmented, or `out` holds anything that is not a former run's.
    """
    options = options or Options()
    check_tiling(options.tile, options.overlap)
    if options.batch_size < 1:
        raise ValueError(f"batch-size is {options.batch_size}, expected at least 1")
    listed, cost = list_images(images), Cost()
    model = segmenter.model
    with out_folder(out, [model.path, *(item.path for item in listed)]) as folder:
        run = _Run(segmenter, folder, options, out.absolute())
        run.all_of(listed)
        if not run.done:
            first = next(row for row in run.rows if row.status == "failed")
            raise ValueError(f"none of {len(listed)} files could be segmented; {first.image}: {first.reason}")
        run.write_tables()
        facts = {
            "model": str(model.path),
            "architecture": model.architecture,
            "classes": _classes(segmenter),
            "notes": list(model.notes),
            "images": images,
            "options": asdict(options),
            "device": str(segmenter.device),
            "versions": {"pipeline": __version__, "torch": str(torch.__version__)},
            "cost": cost.record(run.done, "images"),
        }
        folder.finish(facts)
    return run.rows


def _classes(segmenter: Segmenter) -> list[dict[str, Any]]:
    ids = segmenter.model.class_ids or range(len(segmenter.class_names))
    return [
        {"value": value, "name": name, "dataset_id": number}
        for value, (name, number) in enumerate(zip(segmenter.class_names, ids, strict=True))
    ]


class _Run:
    def __init__(self, segmenter: Segmenter, folder: OutFolder, options: Options, out: Path) -> None:
        self.segmenter, self.folder, self.options, self.out = segmenter, folder, options, out
        self.background = segmenter.model.background
        self.rows: list[AreaRow] = []
        self.shots: list[gallery.Shot] = []
        self.coco_images: list[dict[str, Any]] = []
        self.coco_annotations: list[dict[str, Any]] = []
        self.done = 0

    def all_of(self, listed: Sequence[Listed]) -> None:
        """Segment every file and write what belongs to it alone."""
        self.rows += [AreaRow(item.shown, "skipped", item.skipped) for item in listed if item.skipped]
        wanted = [item for item in listed if not item.skipped]
        progress = Progress("predict", len(wanted))
        batch: list[tuple[Listed, Pixels]] = []
        for item, pixels in _decoded(wanted, self.options.readers, 2 * self.options.batch_size):
            if isinstance(pixels, ImageError):
                self._not(item, "failed", str(pixels).removeprefix(f"image {item.path}").lstrip(": "))
                progress.update()
                continue
            if batch and (batch[0][1].shape != pixels.shape or len(batch) == self.options.batch_size):
                self._batch(batch)
                progress.update(len(batch))
                batch = []
            batch.append((item, pixels))
        self._batch(batch)
        progress.update(len(batch))
        position = {item.shown: number for number, item in enumerate(listed)}
        self.rows.sort(key=lambda row: position[row.image])

    def write_tables(self) -> None:
        """Write what is about all images."""
        model = self.segmenter.model
        self.folder.write("areas.csv", as_csv(self.rows))
        self.folder.write("index.html", gallery.page(model, self.shots, self.rows, self.done - len(self.shots)))
        if "coco" in self.options.formats:
            content = {
                "info": {"description": f"segmented by {model.path}", "version": __version__},
                "images": self.coco_images,
                "annotations": self.coco_annotations,
                "categories": coco.categories(model.class_names, self.background),
            }
            self.folder.write("coco.json", json.dumps(content) + "\n")

    def _batch(self, batch: Sequence[tuple[Listed, Pixels]]) -> None:
        if not batch:
            return
        try:
            images = [pixels for _, pixels in batch]
            results = self.segmenter.segment(images, self.options.tile, self.options.overlap)
        except (RuntimeError, MemoryError) as error:
            # Out of memory, or a size that the network cannot take: one image must not cost the others.
            if len(batch) > 1:
                for one in batch:
                    self._batch([one])
                return
            self._not(batch[0][0], "failed", _reason(error))
            return
        for (item, pixels), result in zip(batch, results, strict=True):
            self._one(item, pixels, result)

    def _one(self, item: Listed, pixels: Pixels, result: Segmentation) -> None:
        rows = area_rows(item.shown, result)
        blended = blend(pixels, result.mask, self.background)
        drawn = overlay(blended, result.mask, result.class_names, self.background)
        self.rows += rows
        self.done += 1
        self.folder.write(f"masks/{item.stem}.png", encoded(palette_mask(result.mask), "PNG"))
        self.folder.write(f"overlays/{item.stem}.jpg", encoded(drawn, "JPEG"))
        if len(self.shots) < self.options.gallery:
            self.shots.append(gallery.shot(item.shown, str(item.stem), blended, rows, self.background))
        if "coco" in self.options.formats:
            height, width = result.mask.shape
            entry = {"id": self.done, "file_name": item.shown, "width": width, "height": height}
            self.coco_images.append(entry)
            first = len(self.coco_annotations) + 1
            self.coco_annotations += coco.annotate(result, self.done, first, self.background)
        if "labelme" in self.options.formats:
            name = f"labelme/{item.stem}.json"
            beside = os.path.relpath(item.path.absolute(), (self.out / name).parent)
            content = labelme.labelme_file(result.mask, result.class_names, self.background, beside)
            self.folder.write(name, json.dumps(content, indent=1) + "\n")

    def _not(self, item: Listed, status: Status, reason: str) -> None:
        self.rows.append(AreaRow(item.shown, status, reason))


def _reason(error: BaseException) -> str:
    text = (str(error).splitlines() or [""])[0] or type(error).__name__
    memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or "memory" in text
    return f"out of memory ({text[:120]}); use --tile" if memory else f"the network cannot compute it ({text[:200]})"


def _decoded(items: Sequence[Listed], threads: int, ahead: int) -> Iterator[tuple[Listed, Pixels | ImageError]]:
    def read(item: Listed) -> Pixels | ImageError:
        try:
            return read_pixels(item.path)
        except ImageError as error:
            return error

    with ThreadPoolExecutor(max(1, threads)) as pool:
        waiting = iter(items)
        futures: list[tuple[Listed, Future[Pixels | ImageError]]] = []
        futures += [(item, pool.submit(read, item)) for item in islice(waiting, ahead)]
        while futures:
            item, future = futures.pop(0)
            yield item, future.result()
            futures += [(later, pool.submit(read, later)) for later in islice(waiting, 1)]
