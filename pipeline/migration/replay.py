"""Replay folders of Web-WILSS as a table of pseudo-labels (web_wilss.md 2.8, 5)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from pipeline.artifacts import PSEUDOLABELS, write_table
from pipeline.artifacts.rows import PseudoLabelRow
from pipeline.config import CrawlIngest
from pipeline.datasets import DatasetError
from pipeline.datasets.evaluation_images import evaluation_hashes, near_evaluation
from pipeline.datasets.images import open_image, open_mask, read_bytes
from pipeline.datasets.original_layout import replay_pairs
from pipeline.datasets.protocol_file import Protocol, read_protocol
from pipeline.runtime.progress import Progress


def import_replay(root: Path, out: Path, per_source: int = 2, protocol: Path | None = None) -> str:
    """Write pseudolabels.parquet from `<root>/<source id>/train_fullPath.txt`; return a summary line.

    Absolute paths of another machine are looked up again under the source's own folder. An image or label that
    cannot be used stays in the table with its reason, also one that looks like an evaluation image of `protocol`
    (`duplicate_of_evaluation`). Raises DatasetError if no listing is there.
    """
    pairs = replay_pairs(root, per_source)
    progress = Progress("replay", len(pairs))
    rows = []
    for folder, image, label in pairs:
        rows.append(_row(_found(folder, image, "image"), _found(folder, label, "label")))
        progress.update()
    if protocol:
        _mark_evaluation_images(rows, read_protocol(protocol))
    write_table(out, rows, PSEUDOLABELS, provenance={"imported_from": str(root)})
    bad = [row for row in rows if row["reason"]]
    note = f"; first problem: {bad[0]['reason']}" if bad else ""
    return f"wrote {out}: {len(rows) - len(bad)} replay images, {len(bad)} unusable{note}"


def _mark_evaluation_images(rows: list[PseudoLabelRow], protocol: Protocol) -> None:
    usable = [row for row in rows if not row["reason"]]
    bits = CrawlIngest().near_duplicate_bits
    near = near_evaluation((row["image"] for row in usable), evaluation_hashes(protocol), bits)
    for row, same in zip(usable, near, strict=True):
        if same:
            row["reason"] = "duplicate_of_evaluation"


def _found(folder: Path, path: str, kind: str) -> str:
    local = folder / kind / Path(path).name
    return path if Path(path).exists() or not local.exists() else str(local)


def _row(image: str, label: str) -> PseudoLabelRow:
    row: PseudoLabelRow = {
        "image_id": "",
        "image": image,
        "label": label,
        "class_ids": [],
        "confidence": None,
        "reason": "",
    }
    try:
        row["image_id"] = hashlib.sha256(read_bytes(image)).hexdigest()
        size, mask = open_image(image).size, open_mask(label)
        if mask.shape != size[::-1]:
            raise DatasetError(f"image {image} has size {size}, its label {mask.shape[::-1]}")
        row["class_ids"] = [int(v) for v in np.unique(mask) if 0 < v < 255]
    except DatasetError as error:
        row["reason"] = str(error)
    return row
