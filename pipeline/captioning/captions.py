"""Captions of a shard or of the base images: batches by size, decoding beside generation, resumable."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from pipeline.artifacts import CAPTIONS, INGEST, image_address, read_table, write_table
from pipeline.artifacts.rows import CaptionRow
from pipeline.captioning.captioners import Captioner, Source, WrittenCaptions, build
from pipeline.config import Captioner as Settings
from pipeline.datasets.images import open_image
from pipeline.datasets.protocol_file import read_protocol
from pipeline.runtime.progress import Progress


def shard_sources(table: Path, tar: Path) -> list[Source]:
    """Return the kept images of a shard in their order."""
    rows = read_table(table, INGEST)
    return [
        Source(r["image_id"], image_address(tar, r["image_id"]), r["width"], r["height"], r["title"] or "")
        for r in rows
        if r["status"] == "kept"
    ]


def dataset_sources(protocol: Path) -> list[Source]:
    """Return the training images of a protocol."""
    return [Source(row.id, row.image) for row in read_protocol(protocol).train]


def caption(
    sources: Sequence[Source],
    settings: Settings,
    out: Path,
    captioner: Captioner | WrittenCaptions | None = None,
) -> None:
    """Write the captions table in the order of `sources`. A broken image yields a row with a reason and no caption.

    Images of like size share a batch. An interrupted call continues from the batches already done, kept beside
    `out`; batches depend on the sources alone, so that a resumed table equals an uninterrupted one.
    """
    done = _PartialRows(out, settings)
    rows = {row["image_id"]: row for row in done.rows}
    left = [part for part in _batches(sources, settings.batch_size) if part[0].image_id not in rows]
    progress = Progress(f"caption {out.stem}", len(sources))
    progress.start_from(len(rows))
    if left:
        captioner = captioner or build(settings)
        for part in _rows(captioner, left, settings):
            done.add(part)
            rows.update((row["image_id"], row) for row in part)
            progress.update(len(part))
    write_table(out, [rows[source.image_id] for source in sources], CAPTIONS, provenance=settings.model_dump())
    done.drop()


def _batches(sources: Sequence[Source], size: int) -> list[list[Source]]:
    known = list({source.image_id: source for source in sources}.values())
    ordered = sorted(map(_with_size, known), key=lambda source: (source.width, source.height))
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


def _with_size(source: Source) -> Source:
    if source.width or "::" in source.uri:
        return source
    try:
        with Image.open(source.uri) as header:
            width, height = header.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return source
    return replace(source, width=width, height=height)


def _rows(
    captioner: Captioner | WrittenCaptions, batches: list[list[Source]], settings: Settings
) -> Iterator[list[CaptionRow]]:
    if isinstance(captioner, WrittenCaptions):
        for part in batches:
            yield [_row(source, captioner, *captioner.look_up(source), 0.0) for source in part]
        return
    generator = _Generator(captioner)
    started = time.monotonic()
    for batch in _read_ahead(captioner, batches, settings.decode_threads):
        texts = iter(generator.captions(batch))
        seconds = (time.monotonic() - started) / len(batch.sources)
        started = time.monotonic()
        yield [
            _row(source, captioner, "" if reason else next(texts), reason, seconds)
            for source, reason in zip(batch.sources, batch.reasons, strict=True)
        ]


def _row(source: Source, captioner: Captioner | WrittenCaptions, text: str, reason: str, seconds: float) -> CaptionRow:
    return {
        "image_id": source.image_id,
        "caption": text,
        "seconds": seconds,
        "model": captioner.model,
        "revision": captioner.revision,
        "reason": reason,
    }


@dataclass(frozen=True)
class _Batch:
    sources: list[Source]
    reasons: list[str]
    images: list[Image.Image]
    prepared: Any


def _read_ahead(captioner: Captioner, batches: list[list[Source]], threads: int) -> Iterator[_Batch]:
    """Yield decoded batches; the next one is decoded and prepared while the caller works on this one."""
    with ThreadPoolExecutor(threads, "decode") as decoders, ThreadPoolExecutor(1, "prepare") as preparer:

        def load(part: list[Source]) -> _Batch:
            opened = list(decoders.map(_open, part))
            images = [image for image, reason in opened if image is not None and not reason]
            prepared = captioner.prepare(images) if images else None
            return _Batch(part, [reason for _, reason in opened], images, prepared)

        waiting: Future[_Batch] | None = preparer.submit(load, batches[0])
        for number in range(1, len(batches) + 1):
            assert waiting is not None
            batch = waiting.result()
            waiting = preparer.submit(load, batches[number]) if number < len(batches) else None
            yield batch


def _open(source: Source) -> tuple[Image.Image | None, str]:
    try:
        return open_image(source.uri), ""
    except (ValueError, Image.DecompressionBombError) as error:
        return None, str(error)


class _Generator:
    """Generates in batches that fit: where memory runs out they are halved, and stay halved."""

    def __init__(self, captioner: Captioner) -> None:
        self.captioner = captioner
        self.fits: int | None = None

    def captions(self, batch: _Batch) -> list[str]:
        """Return one line per image of the batch. Raises RuntimeError or MemoryError if one image does not fit."""
        if not batch.images:
            return []
        if self.fits is None or len(batch.images) <= self.fits:
            try:
                return self.captioner.generate(batch.prepared)
            except (RuntimeError, MemoryError) as error:
                self._halve(len(batch.images), error)
            _free_memory()
        return self._in_parts(batch.images)

    def _in_parts(self, images: list[Image.Image]) -> list[str]:
        texts: list[str] = []
        while len(texts) < len(images):
            assert self.fits is not None
            part = images[len(texts) : len(texts) + self.fits]
            try:
                texts += self.captioner.caption(part)
                continue
            except (RuntimeError, MemoryError) as error:
                self._halve(len(part), error)
            _free_memory()
        return texts

    def _halve(self, size: int, error: RuntimeError | MemoryError) -> None:
        if not _is_out_of_memory(error) or size == 1:
            raise error
        self.fits = size // 2
        print(f"caption: memory does not suffice for {size} images, going on with {self.fits}", file=sys.stderr)


def _is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    # torch.OutOfMemoryError is a RuntimeError; torch's CPU allocator raises a plain one.
    said = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in said or "can't allocate memory" in said


def _free_memory() -> None:
    # After the except block: as long as the error lives, its traceback holds the tensors of the failed batch.
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


class _PartialRows:
    """Rows of finished batches, one JSON line each, beside the output and outside the workflow's sight."""

    def __init__(self, out: Path, settings: Settings) -> None:
        self.path = out.with_name(f".{out.name}.partial.jsonl")
        self._header = json.dumps(settings.model_dump(), sort_keys=True)
        self.rows: list[CaptionRow] = []
        out.parent.mkdir(parents=True, exist_ok=True)
        lines = self.path.read_text().split("\n") if self.path.exists() else []
        if lines and lines[0] == self._header:
            # A line without its end was cut by a kill and is done again.
            for line in lines[1:-1]:
                self.rows += json.loads(line)
        text = "".join(f"{line}\n" for line in [self._header, *([json.dumps(self.rows)] if self.rows else [])])
        self.path.write_text(text)

    def add(self, rows: list[CaptionRow]) -> None:
        """Append a batch and make it durable."""
        self.rows += rows
        with self.path.open("a") as file:
            file.write(json.dumps(rows) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def drop(self) -> None:
        """Remove the file; the output is complete."""
        self.path.unlink(missing_ok=True)
