"""The four numbers that papers report over all steps of a task (ciss_methods.md 6)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_WITHOUT_BACKGROUND = {"plop": (), "mib": ("first", "all"), "wilson": ("first",)}
"""Convention of a paper -> the numbers that leave the background out."""


def step_means(iou: Sequence[Sequence[float | None]], n_first: int, convention: str = "plop") -> dict[str, float]:
    """Return all, avg, first and last in percent, as a paper of this convention counts them.

    `iou` has a row per step with a fraction per class in channel order, None or NaN for classes not known yet or
    without a ground-truth pixel; `n_first` counts the classes of step 0, background included. `all` is the last
    step's mean, `avg` the mean of every step's `all`, `first` and `last` the last step's means over step 0's and
    over later classes. Absent classes leave every mean (SATS's script counts them in the divisor). `plop` counts
    the background in `first` and `all`, `mib` in neither, `wilson` in `all` alone. NaN where nothing can be
    averaged. Raises ValueError for rows of unequal length.
    """
    widths = {len(row) for row in iou}
    if len(widths) != 1 or not 0 < n_first <= max(widths):
        raise ValueError(f"got rows of {sorted(widths)} classes, {n_first} at step 0; expected one width, not below it")
    table = np.array([[np.nan if value is None else value for value in row] for row in iou], np.float64)
    without = _WITHOUT_BACKGROUND[convention]
    start = {name: int(name in without) for name in ("first", "all")}
    per_step = np.array([_mean(row[start["all"] :]) for row in table])
    return {
        "all": 100 * float(per_step[-1]),
        "avg": 100 * _mean(per_step),
        "first": 100 * _mean(table[-1, start["first"] : n_first]),
        "last": 100 * _mean(table[-1, n_first:]),
    }


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
