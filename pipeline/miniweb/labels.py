"""A labelled sample of the mini web's candidates, as somebody who looked at them would write it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from pipeline.artifacts import MANIFEST, TRUTH, atomic_path, read_table


def write_labelled_sample(truth: Path, manifest: Path, share: float, out: Path, seed: int = 0) -> int:
    """Write a random share of the kept candidates as CSV (image_id, class_id, right) and return how many rows it has.

    `right` is yes if the image shows the class it was searched for. It stands for a person's work, so that
    `captioning calibrate --sample` can be tried and measured; on the open web a person writes the file.
    """
    shown = {row["url"]: set(row["class_ids"]) for row in read_table(truth, TRUTH)}
    rng = np.random.default_rng(seed)
    rows = [
        (row["image_id"], class_id, "yes" if class_id in shown[row["url"]] else "no")
        for row in read_table(manifest, MANIFEST)
        if row["status"] == "kept" and row["url"] in shown and rng.random() < share
        for class_id in row["class_ids"]
    ]
    with atomic_path(out) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("image_id", "class_id", "right"))
        writer.writerows(rows)
    return len(rows)
