"""Captions of a shard or of the base images, resumable batch by batch."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.artifacts import CAPTIONS, INGEST, read_json, read_table, write_table
from pipeline.captioning.captioners import Captioner, build
from pipeline.config import Captioner as Settings
from pipeline.datasets.images import open_image
from pipeline.progress import Progress


@dataclass(frozen=True)
class Source:
    """An image to caption: its id and where it is."""

    image_id: str
    uri: str


def shard_sources(table: Path, tar: Path) -> list[Source]:
    """Return the kept images of a shard in their order."""
    rows = read_table(table, INGEST)
    return [Source(r["image_id"], f"{tar}::{r['image_id']}.jpg") for r in rows if r["status"] == "kept"]


def dataset_sources(protocol: Path) -> list[Source]:
    """Return the training images of a protocol."""
    return [Source(row["id"], row["image"]) for row in read_json(protocol)["train"]]


def caption(sources: Sequence[Source], settings: Settings, out: Path, captioner: Captioner | None = None) -> None:
    """Write the captions table. A broken image yields a row with a reason and an empty caption.

    An interrupted call continues from the batches already done, kept beside `out`; batches are cut by
    position, so that a resumed table equals an uninterrupted one.
    """
    done = _PartialRows(out, settings)
    progress = Progress(f"caption {out.stem}", len(sources))
    progress.start_from(len(done.rows))
    for start in range(len(done.rows), len(sources), settings.batch_size):
        captioner = captioner or build(settings)
        part = sources[start : start + settings.batch_size]
        done.add(_caption_batch(captioner, part))
        progress.update(len(part))
    about = settings.model_dump()
    write_table(out, done.rows, CAPTIONS, provenance=about)
    done.drop()


def _caption_batch(captioner: Captioner, part: Sequence[Source]) -> list[dict[str, Any]]:
    started = time.monotonic()
    images, reasons = [], []
    for source in part:
        try:
            images.append(open_image(source.uri))
            reasons.append("")
        except ValueError as error:
            reasons.append(str(error))
    texts = iter(_shrinking(captioner, images))
    seconds = (time.monotonic() - started) / len(part)
    return [
        {
            "image_id": source.image_id,
            "caption": "" if reason else next(texts),
            "seconds": seconds,
            "model": captioner.model,
            "revision": captioner.revision,
            "reason": reason,
        }
        for source, reason in zip(part, reasons, strict=True)
    ]


def _shrinking(captioner: Captioner, images: list[Any]) -> list[str]:
    """Caption a batch; where the GPU's memory does not suffice, its halves."""
    if not images:
        return []
    try:
        return captioner.caption(images)
    except RuntimeError as error:
        if "out of memory" not in str(error).lower() or len(images) == 1:
            raise
    half = len(images) // 2
    return _shrinking(captioner, images[:half]) + _shrinking(captioner, images[half:])


class _PartialRows:
    """Rows of finished batches, one JSON line each, beside the output and outside the workflow's sight."""

    def __init__(self, out: Path, settings: Settings) -> None:
        self.path = out.with_name(f".{out.name}.partial.jsonl")
        self._header = json.dumps(settings.model_dump(), sort_keys=True)
        self.rows: list[dict[str, Any]] = []
        out.parent.mkdir(parents=True, exist_ok=True)
        lines = self.path.read_text().split("\n") if self.path.exists() else []
        if lines and lines[0] == self._header:
            # A line without its end was cut by a kill and is done again.
            for line in lines[1:-1]:
                self.rows += json.loads(line)
        text = "".join(f"{line}\n" for line in [self._header, *([json.dumps(self.rows)] if self.rows else [])])
        self.path.write_text(text)

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Append a batch and make it durable."""
        self.rows += rows
        with self.path.open("a") as file:
            file.write(json.dumps(rows) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def drop(self) -> None:
        """Remove the file; the output is complete."""
        self.path.unlink(missing_ok=True)
