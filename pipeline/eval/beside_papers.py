"""What papers report beside what was measured: published, ours, difference."""

from __future__ import annotations

from pipeline.config import Config, Published
from pipeline.eval.paper_scores import COLUMNS, Scores, our_scores


def beside_papers(config: Config) -> list[str]:
    """Return a line per published value: published, ours, difference; empty if the experiment names none."""
    if not config.published:
        return []
    lines = ["published (mIoU, old / new / all / avg)"]
    runs = {(run.method, run.variant): run for run in config.experiment.runs}
    for published in config.published:
        run = runs.get((published.method, published.variant))
        ours, seeds = our_scores(config, run, published.convention) if run else (dict.fromkeys(COLUMNS), 0)
        name = f"{published.method}+{published.variant}" if published.variant else published.method
        lines.append(f"{name} by {published.source} ({published.convention} convention)")
        lines.append(f"  published  {_cells(numbers(published))}")
        lines.append(f"  ours       {_cells(ours)}   {seeds} seeds")
        lines.append(f"  difference {_cells(difference(ours, numbers(published)), sign=True)}")
    return lines


def numbers(published: Published) -> Scores:
    """Return the published values by column."""
    return {column: getattr(published, column) for column in COLUMNS}


def difference(ours: Scores, theirs: Scores) -> Scores:
    """Return ours less theirs, None where either is unknown."""
    gaps: Scores = {}
    for column in COLUMNS:
        mine, published = ours[column], theirs[column]
        gaps[column] = None if mine is None or published is None else mine - published
    return gaps


def _cells(scores: Scores, sign: bool = False) -> str:
    form = "+6.2f" if sign else "6.2f"
    return " ".join("     -" if scores[c] is None else format(scores[c], form) for c in COLUMNS)
