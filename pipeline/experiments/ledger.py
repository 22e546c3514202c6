"""REPRODUCIBILITY.md: every published experiment, and which of them was run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.artifacts import write_text
from pipeline.config import Config, Published, Run, load_config
from pipeline.eval.beside_papers import difference, numbers
from pipeline.eval.paper_scores import COLUMNS, Scores, our_scores
from pipeline.eval.published_table import ROOT, all_keys, read_table
from pipeline.experiments.build import deviations

LEDGER = ROOT / "REPRODUCIBILITY.md"
_INTRO = """# Reproducibility ledger

Written by `python -m pipeline.experiments ledger`; do not edit. One row per run and source. Status: `ours` when every
evaluation of the run lies in its results folder, `published only` when just a paper's value
is known. A number of ours is the mean over the seeds that are complete; nothing stands here without its files.
mIoU in percent, old / new / all after the last step (avg: mean over steps). Convention `plop` counts the background in
old and all, `mib` in neither, `wilson` in all alone. Sources: the figures, tables and READMEs that the named
papers publish; see experiments/published.tsv. `here:` says in what a run differs from its paper, because the runs of a
file share step 0 and the data.
"""


def write_ledger(path: Path = LEDGER, folder: Path = ROOT / "experiments", overrides: str | None = None) -> int:
    """Write the ledger of every published experiment; return how many rows are `ours`.

    `overrides` is JSON laid over each experiment, to name another results folder.
    """
    rows, n_ours = [], 0
    table = read_table()
    for key in all_keys():
        config = load_config([folder / f"{key.name}.yaml"], overrides)
        for row in _rows(config, deviations(key, table[key])):
            n_ours += "| ours |" in row
            rows.append(row)
    head = "| experiment | run | status | published | ours | difference in all | convention | source |\n" + "|---" * 8
    write_text(path, f"{_INTRO}\n{head}|\n" + "\n".join(rows) + "\n")
    return n_ours


def _rows(config: Config, deviating: Mapping[tuple[str, str], str]) -> Iterator[str]:
    for run in config.experiment.runs:
        for published in config.published:
            if (published.method, published.variant) == (run.method, run.variant):
                yield _row(config, run, published, deviating.get((run.method, run.variant), ""))


def _row(config: Config, run: Run, published: Published, deviation: str) -> str:
    ours, seeds = our_scores(config, run, published.convention)
    theirs = numbers(published)
    gap = difference(ours, theirs)["all"]
    cells = [
        config.experiment.name,
        run.name,
        "ours" if seeds else "published only",
        _short(theirs),
        f"{_short(ours)} ({seeds} seeds)" if seeds else "-",
        "-" if gap is None else f"{gap:+.1f}",
        published.convention,
        "; ".join(part for part in (published.source, published.note, deviation and f"here: {deviation}") if part),
    ]
    return "| " + " | ".join(cells) + " |"


def _short(scores: Scores) -> str:
    if all(scores[column] is None for column in COLUMNS):
        return "-"
    text = " / ".join("?" if scores[c] is None else f"{scores[c]:.2f}".rstrip("0").rstrip(".") for c in COLUMNS[:3])
    return text if scores["avg"] is None else f"{text} (avg {scores['avg']:.2f})"
