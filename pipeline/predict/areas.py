"""The table of a prediction: pixels and confidence per class and image, status and reason per image."""

from __future__ import annotations

import csv
import io
from dataclasses import astuple, dataclass, fields
from typing import Literal

import numpy as np

from pipeline.predict.result import Segmentation

Status = Literal["done", "failed", "skipped"]


@dataclass(frozen=True)
class AreaRow:
    """One class in one image; an image that was not segmented has one row, with status and reason."""

    image: str
    status: Status
    reason: str = ""
    width: int | str = ""
    height: int | str = ""
    class_id: int | str = ""
    class_name: str = ""
    pixels: int | str = ""
    share: float | str = ""
    """Of the image's pixels, 0..1."""
    confidence: float | str = ""
    """Mean probability of the class over its pixels, 0..1."""


def area_rows(image: str, result: Segmentation) -> list[AreaRow]:
    """Return a row per class in a mask, in the order of class ids."""
    flat = result.mask.ravel()
    counts = np.bincount(flat, minlength=len(result.class_names))
    sums = np.bincount(flat, weights=result.confidence.ravel().astype(np.float64), minlength=len(counts))
    height, width = result.mask.shape
    return [
        AreaRow(
            image, "done", "", width, height, value, result.class_names[value], int(counts[value]),
            round(counts[value] / flat.size, 6), round(sums[value] / counts[value], 4),
        )
        for value in np.flatnonzero(counts).tolist()
    ]  # fmt: skip


def as_csv(rows: list[AreaRow]) -> str:
    """Return the table with its header."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([field.name for field in fields(AreaRow)])
    writer.writerows(astuple(row) for row in rows)
    return stream.getvalue()
