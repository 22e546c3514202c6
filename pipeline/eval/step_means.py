"""The four numbers that papers report over all steps of a task (ciss_methods.md 6)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def step_means(iou: Sequence[Sequence[float | None]], n_first: int, background: bool = True) -> dict[str, float]:
    """Return all, avg, first and last in percent.

    `iou` has a row per step with a fraction per class in channel order, None for classes not known yet or without a
    ground-truth pixel; `n_first` counts the classes of step 0, background included. `all` is the last step's mean,
    `avg` the mean of every step's mean, `first` and `last` the last step's means over step 0's and over later
    classes. Absent classes leave every mean (SATS's script counts them in the divisor). Without `background` the first
    column is left out, as MiB does. NaN where nothing can be averaged. Raises ValueError for rows of unequal length.
    """
    widths = {len(row) for row in iou}
    if len(widths) != 1 or not 0 < n_first <= max(widths):
        raise ValueError(f"got rows of {sorted(widths)} classes, {n_first} at step 0; expected one width, not below it")
    table = np.array([[np.nan if value is None else value for value in row] for row in iou], np.float64)
    start = 0 if background else 1
    return {
        "all": 100 * _mean(table[-1, start:]),
        "avg": 100 * _mean(np.array([_mean(row[start:]) for row in table])),
        "first": 100 * _mean(table[-1, start:n_first]),
        "last": 100 * _mean(table[-1, n_first:]),
    }


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
