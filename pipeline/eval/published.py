"""How well our ranking of the methods agrees with the published one on VOC (ciss_methods.md 7, web_wilss.md 9)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from pipeline.config import Published
from pipeline.eval.published_table import RESNET101, VOC, Key, read_table

WEB = "web100"
"""Variant of Web-WILSS that learns from the web alone and replays web images, as our runs do."""


@cache
def published(task: str) -> dict[str, Published]:
    """Return the first published row of every method on a VOC overlap task with ResNet-101; empty for other tasks.

    SATS has published values on SegFormer alone, so it is not among them.
    """
    task = "15-1" if task == "15-5s" else task
    table, rows = read_table(), dict[str, Published]()
    for backbone in RESNET101:
        for row in table.get(Key(VOC, task, "overlap", backbone), []):
            wanted = WEB if row.method == "web_wilss" else ""
            if row.variant == wanted and row.all is not None:
                rows.setdefault(row.method, row)
    return rows


def score(row: Published) -> float:
    """Return the published mIoU over all classes, in percent."""
    assert row.all is not None
    return row.all


@dataclass(frozen=True)
class Agreement:
    """Spearman's and Kendall's rank correlation over `methods` methods, NaN below three."""

    spearman: float
    kendall: float
    methods: int


def agreement(ours: Mapping[str, float], task: str) -> Agreement:
    """Return how well our order of the methods' `all` agrees with the published one."""
    rows, both = published(task), _both(ours, task)
    return rank_correlation([ours[name] for name in both], [score(rows[name]) for name in both])


def rank_correlation(ours: Sequence[float], theirs: Sequence[float]) -> Agreement:
    """Return how well two orders of the same methods agree."""
    from scipy.stats import kendalltau, spearmanr

    if len(ours) < 3:
        return Agreement(math.nan, math.nan, len(ours))
    return Agreement(float(spearmanr(ours, theirs)[0]), float(kendalltau(ours, theirs)[0]), len(ours))


def displaced(ours: Mapping[str, float], task: str) -> list[tuple[str, int, int]]:
    """Return (method, our rank, published rank) where they differ, the largest difference first; 1 is best."""
    rows, both = published(task), _both(ours, task)
    mine = sorted(both, key=lambda name: -ours[name])
    theirs = sorted(both, key=lambda name: -score(rows[name]))
    moved = [(name, mine.index(name) + 1, theirs.index(name) + 1) for name in both]
    return sorted((row for row in moved if row[1] != row[2]), key=lambda row: -abs(row[1] - row[2]))


def _both(ours: Mapping[str, float], task: str) -> list[str]:
    return [name for name in ours if name in published(task) and not math.isnan(ours[name])]
