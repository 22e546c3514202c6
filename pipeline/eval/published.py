"""Published results, and how well our ranking of methods agrees with them (ciss_methods.md 7, web_wilss.md 9)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """mIoU in percent over old, new and all classes. `background` says whether the authors count class 0."""

    method: str
    old: float
    new: float
    all: float
    background: bool
    source: str


_M = "MiB, figure voc-tab.png"
_P = "PLOP, figure voc_plop.png"
_U = "SSUL, README"
_W = "WILSON, table 1; the data set's images with image labels"
_WW = "Web-WILSS, supplement; web images and 100 web replay"

VOC_OVERLAP: dict[str, tuple[Published, ...]] = {
    "15-5": (
        Published("ft", 2.1, 33.1, 9.8, False, _M),
        Published("pi", 1.6, 33.3, 9.5, False, _M),
        Published("ewc", 24.3, 35.5, 27.1, False, _M),
        Published("rw", 16.6, 34.9, 21.2, False, _M),
        Published("lwf", 58.9, 36.6, 53.3, False, _M),
        Published("lwf_mc", 58.1, 35.0, 52.3, False, _M),
        Published("ilt", 66.3, 40.6, 59.9, False, _M),
        Published("mib", 75.5, 49.4, 69.0, False, _M),
        Published("plop", 75.73, 51.71, 70.09, True, _P),
        Published("ssul", 77.82, 50.10, 71.22, True, _U),
        Published("wilson", 74.2, 41.7, 67.2, True, _W),
        Published("web_wilss", math.nan, math.nan, 71.7, True, _WW),
        Published("joint", 79.1, 72.6, 77.4, False, _M),
    ),
    "15-1": (
        Published("ft", 0.2, 1.8, 0.6, False, _M),
        Published("pi", 0.0, 1.8, 0.5, False, _M),
        Published("ewc", 0.3, 4.3, 1.3, False, _M),
        Published("rw", 0.0, 5.2, 1.3, False, _M),
        Published("lwf", 1.0, 3.9, 1.8, False, _M),
        Published("lwf_mc", 6.4, 8.4, 6.9, False, _M),
        Published("ilt", 4.9, 7.8, 5.7, False, _M),
        Published("mib", 35.1, 13.5, 29.7, False, _M),
        Published("plop", 65.12, 21.11, 54.64, True, _P),
        Published("ssul", 77.31, 36.59, 67.61, True, _U),
        Published("joint", 79.1, 72.6, 77.4, False, _M),
    ),
}
"""VOC overlapped, DeepLabV3 with ResNet-101. SATS has published values on SegFormer alone, so it is not among them."""


def published(task: str) -> dict[str, Published]:
    """Return the published rows of a VOC overlap task by method; empty for another task."""
    return {row.method: row for row in VOC_OVERLAP.get("15-1" if task == "15-5s" else task, ())}


@dataclass(frozen=True)
class Agreement:
    """Spearman's and Kendall's rank correlation over `methods` methods, NaN below three."""

    spearman: float
    kendall: float
    methods: int


def agreement(ours: Mapping[str, float], task: str) -> Agreement:
    """Return how well our order of the methods' `all` agrees with the published one."""
    from scipy.stats import kendalltau, spearmanr

    rows = published(task)
    both = [name for name in ours if name in rows and not math.isnan(ours[name])]
    if len(both) < 3:
        return Agreement(math.nan, math.nan, len(both))
    mine, theirs = [ours[name] for name in both], [rows[name].all for name in both]
    return Agreement(float(spearmanr(mine, theirs)[0]), float(kendalltau(mine, theirs)[0]), len(both))


def displaced(ours: Mapping[str, float], task: str) -> list[tuple[str, int, int]]:
    """Return (method, our rank, published rank) where they differ, the largest difference first; 1 is best."""
    rows = published(task)
    both = [name for name in ours if name in rows and not math.isnan(ours[name])]
    mine = sorted(both, key=lambda name: -ours[name])
    theirs = sorted(both, key=lambda name: -rows[name].all)
    moved = [(name, mine.index(name) + 1, theirs.index(name) + 1) for name in both]
    return sorted((row for row in moved if row[1] != row[2]), key=lambda row: -abs(row[1] - row[2]))
