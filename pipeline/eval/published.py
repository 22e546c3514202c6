"""How well our ranking of the methods agrees with the published one on VOC (ciss_methods.md 7, web_wilss.md 9)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from pipeline.config import Published
from pipeline.eval.published_table import Key, read_table

WEB = "web100"
"""Variant of Web-WILSS that learns from the web alone and replays web images, as our runs do."""


@cache
def published(task: str) -> dict[str, Published]:
    """Return the first published row of every method on a VOC overlap task with ResNet-101; empty for other tasks.

    SATS has published values on SegFormer alone, so it is not among them.
    """
    task = "15-1" if task == "15-5s" else task
    rows: dict[str, Published] = {}
    for key, found in read_table().items():
        plain = [row for row in found if not row.variant and row.all is not None]
        if plain and key in (
            Key("voc", task, "overlap", key.method),
            Key("voc", task, "overlap", "web_wilss", "r101", WEB),
        ):
            rows[key.method] = plain[0]
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
    from scipy.stats import kendalltau, spearmanr

    rows, both = published(task), _both(ours, task)
    if len(both) < 3:
        return Agreement(math.nan, math.nan, len(both))
    mine, theirs = [ours[name] for name in both], [score(rows[name]) for name in both]
    return Agreement(float(spearmanr(mine, theirs)[0]), float(kendalltau(mine, theirs)[0]), len(both))


def displaced(ours: Mapping[str, float], task: str) -> list[tuple[str, int, int]]:
    """Return (method, our rank, published rank) where they differ, the largest difference first; 1 is best."""
    rows, both = published(task), _both(ours, task)
    mine = sorted(both, key=lambda name: -ours[name])
    theirs = sorted(both, key=lambda name: -score(rows[name]))
    moved = [(name, mine.index(name) + 1, theirs.index(name) + 1) for name in both]
    return sorted((row for row in moved if row[1] != row[2]), key=lambda row: -abs(row[1] - row[2]))


def _both(ours: Mapping[str, float], task: str) -> list[str]:
    return [name for name in ours if name in published(task) and not math.isnan(ours[name])]
