"""Our order of an experiment's runs beside the order of each paper that reports them."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.config import Config, Published
from pipeline.eval.beside_papers import difference, numbers
from pipeline.eval.paper_scores import Scores, our_scores
from pipeline.eval.published import Agreement, rank_correlation


@dataclass(frozen=True)
class PaperLine:
    """One run: scores in percent in the paper's convention, ranks by `all` among the lines of the table (1 is best)."""

    run: str
    ours: Scores
    theirs: Scores
    gap: Scores
    rank: int
    their_rank: int


@dataclass(frozen=True)
class PaperTable:
    """The rows of one source and convention that were also measured, from our best run to our worst."""

    source: str
    convention: str
    lines: tuple[PaperLine, ...]
    agreement: Agreement


def paper_tables(config: Config) -> list[PaperTable]:
    """Return a table per source and convention of the experiment's published rows; [] if none of them was measured.

    Sources are not mixed: their conventions differ, and so may what they trained a method with.
    """
    groups: dict[tuple[str, str], list[Published]] = {}
    for row in config.published:
        groups.setdefault((row.source, row.convention), []).append(row)
    tables = [_table(config, source, convention, rows) for (source, convention), rows in groups.items()]
    return [table for table in tables if table.lines]


def _table(config: Config, source: str, convention: str, rows: list[Published]) -> PaperTable:
    runs = {(run.method, run.variant): run for run in config.experiment.chosen}
    pairs = []
    for row in rows:
        run = runs.get((row.method, row.variant))
        if run is None or row.all is None:
            continue
        ours, _ = our_scores(config, run, convention)
        if ours["all"] is not None:
            pairs.append((run.name, ours, numbers(row)))
    mine = [_all(ours) for _, ours, _ in pairs]
    published = [_all(theirs) for _, _, theirs in pairs]
    lines = [
        PaperLine(
            name,
            ours,
            theirs,
            difference(ours, theirs),
            1 + sum(other > _all(ours) for other in mine),
            1 + sum(other > _all(theirs) for other in published),
        )
        for name, ours, theirs in pairs
    ]
    ordered = tuple(sorted(lines, key=lambda line: line.rank))
    return PaperTable(source, convention, ordered, rank_correlation(mine, published))


def _all(scores: Scores) -> float:
    value = scores["all"]
    assert value is not None
    return value
