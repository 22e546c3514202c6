"""Reading saliency maps: the stage `saliency` stores soft maps, whoever reads them says what counts as salient."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets import DatasetError
from pipeline.datasets.images import open_mask

THRESHOLD = 0.5
"""Least saliency of an object: the rule of the SATS code for soft maps (ciss_methods.md 3.5)."""


def open_saliency(path: str | Path, threshold: float = THRESHOLD) -> NDArray[np.bool_]:
    """Return bool (H, W) of a grey PNG: where value / 255 is positive and at least `threshold` (0..1).

    A threshold of 0 is SSUL's own test on published binary maps, whether they hold 0 and 1 or 0 and 255.
    Raises DatasetError if the map is missing or damaged, ValueError for a threshold outside 0..1.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"saliency threshold is {threshold}, expected a number from 0 to 1")
    if not Path(path).exists():
        raise DatasetError(f"saliency map {path} does not exist; run the rule `detect_saliency`, which writes it")
    try:
        values = open_mask(str(path))
    except DatasetError as error:
        raise DatasetError(f"saliency: {error}, or delete it and run the rule `detect_saliency` again") from None
    return (values > 0) & (values >= threshold * 255)
