"""Our methods beside the published ones: values, ranks, rank correlation."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.config import Published
from pipeline.eval.published import Agreement, agreement, displaced, published, score
from pipeline.eval.summary import spread


@dataclass(frozen=True)
class Line:
    """One method: our mIoU over all classes as text, our rank and the published row, if they are known."""

    method: str
    ours: str
    rank: int
    theirs: Published | None
    their_rank: int | None


@dataclass(frozen=True)
class Comparison:
    """Lines from our best method to our worst, and how well the two orders agree."""

    task: str
    lines: tuple[Line, ...]
    agreement: Agreement
    displaced: tuple[tuple[str, int, int], ...]

    def text(self) -> str:
        """Return the comparison as a table for a terminal."""
        head = f"{'method':12s} {'ours, all':>14s} {'rank':>5s} {'published':>10s} {'rank':>5s}  source"
        rows = [head]
        rows += [
            f"{line.method:12s} {line.ours:>14s} {line.rank:5d} "
            + (
                f"{score(line.theirs):10.1f} {line.their_rank:5d}  {line.theirs.source}"
                if line.theirs
                else f"{'-':>10s}"
            )
            for line in self.lines
        ]
        rows.append(self.verdict())
        rows += [f"{name}: rank {ours} here, {theirs} published" for name, ours, theirs in self.displaced[:3]]
        return "\n".join(rows)

    def verdict(self) -> str:
        """Return how well the orders agree in one line, or why that cannot be said."""
        found, column = self.agreement, f"the published VOC {self.task} overlap column"
        if not found.methods:
            return f"none of these methods has a row in {column}: there is nothing to compare with"
        if math.isnan(found.spearman) or math.isnan(found.kendall):
            few = f"methods that are also in {column}: {found.methods}"
            return f"{few}; a rank correlation needs three of different scores"
        return (
            f"rank correlation with {column} over {found.methods} methods: "
            f"Spearman {found.spearman:.2f}, Kendall {found.kendall:.2f}"
        )


def comparison(rows: Sequence[dict[str, Any]], task: str) -> Comparison:
    """Return the comparison of a summary's last step, mean over seeds; runs with a variant are left out."""
    last = max(row["step"] for row in rows)
    values: dict[str, list[float]] = {}
    for row in rows:
        if row["step"] == last and not row["variant"]:
            values.setdefault(row["method"], []).append(row["all"])
    means = {method: statistics.mean(v) for method, v in values.items()}
    known = published(task)
    theirs = sorted((m for m in means if m in known), key=lambda m: -score(known[m]))
    ranks = {method: theirs.index(method) + 1 for method in theirs}
    lines = [
        Line(method, spread(values[method]), rank, known.get(method), ranks.get(method))
        for rank, method in enumerate(sorted(means, key=lambda m: -means[m]), 1)
    ]
    return Comparison(task, tuple(lines), agreement(means, task), tuple(displaced(means, task)))
