"""Masks as COCO annotations: one run-length encoded region per class and image, as pycocotools reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.predict.result import Segmentation


def rle(region: NDArray[np.bool_]) -> dict[str, Any]:
    """Return COCO's compressed run-length encoding of a region (H, W): `size` [H, W] and `counts`.

    Runs go down the columns and begin with the outside. From the third on a count is stored as its difference to the
    one two before, in groups of five bits with a sign, lowest first, each a character from `0` on.
    """
    pixels = np.asarray(region, bool).ravel(order="F")
    changes = np.flatnonzero(np.diff(pixels)) + 1
    runs = np.diff(np.concatenate([[0], changes, [pixels.size]])).tolist()
    if pixels.size and pixels[0]:
        runs.insert(0, 0)
    text = "".join(_characters(run - (runs[i - 2] if i > 2 else 0)) for i, run in enumerate(runs))
    return {"size": [int(side) for side in region.shape], "counts": text}


def _characters(value: int) -> str:
    text = ""
    while True:
        group, value = value & 31, value >> 5
        # The last group's highest bit is the sign.
        more = value != (-1 if group & 16 else 0)
        text += chr(48 + group + 32 * more)
        if not more:
            return text


def categories(class_names: Sequence[str], background: int | None) -> list[dict[str, Any]]:
    """Return COCO's categories; their ids are the masks' values, and the background is none."""
    return [{"id": i, "name": name, "supercategory": ""} for i, name in enumerate(class_names) if i != background]


def annotate(result: Segmentation, image_id: int, first: int, background: int | None) -> list[dict[str, Any]]:
    """Return an annotation per class in a mask, numbered from `first`; `score` is the mean confidence."""
    made: list[dict[str, Any]] = []
    for value in np.unique(result.mask).tolist():
        if value == background:
            continue
        region = result.mask == value
        rows, columns = (np.flatnonzero(region.any(axis=axis)) for axis in (1, 0))
        left, top = int(columns[0]), int(rows[0])
        made.append(
            {
                "id": first + len(made),
                "image_id": image_id,
                "category_id": value,
                "segmentation": rle(region),
                "area": int(region.sum()),
                "bbox": [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1],
                # Regions of a semantic mask are not instances; COCO marks run lengths of groups so.
                "iscrowd": 1,
                "score": round(float(result.confidence[region].mean()), 4),
            }
        )
    return made
