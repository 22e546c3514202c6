"""REPRODUCIBILITY.md: every published experiment, and which of them was run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.artifacts import write_text
from pipeline.config import Config, Published, Run, load_config
from pipeline.eval.beside_papers import difference, numbers
from pipeline.eval.paper_scores import COLUMNS, Scores, our_scores
from pipeline.eval.published_table import ROOT, all_keys

LEDGER = ROOT / "REPRODUCIBILITY.md"
_INTRO = """# Reproducibility ledger

Written by `python -m pipeline.experiments ledger`; do not edit. One row per run and source. Status: `ours` when every
evaluation of the run lies in its results folder, `published only` when just a paper's value is known, `not run` when
there is neither. A number of ours is the mean over the seeds that are complete; nothing stands here without its files.
mIoU in percent, old / new / all after the last step (avg: mean over steps). Convention `plop` counts the background in
old and all, `mib` in neither, `wilson` in all alone. Sources: the figures, tables and READMEs that the named
papers publish; see experiments/published.tsv.
"""


def write_ledger(path: Path = LEDGER, folder: Path = ROOT / "experiments", overrides: str | None = None) -> int:
    """Write the ledger of every published experiment; return how many rows are `ours`.

    `overrides` is JSON laid over each experiment, to name another results folder.
    """
    rows, n_ours = [], 0
    for key in all_keys():
        config = load_config([folder / f"{key.name}.yaml"], overrides)
        for row in _rows(key.name, config):
            n_ours += "| ours |" in row
            rows.append(row)
    head = "| experiment | run | status | published | ours | difference in all | convention | source |\n" + "|---" * 8
    write_text(path, f"{_INTRO}\n{head}|\n" + "\n".join(rows) + "\n")
    return n_ours


def _rows(name: str, config: Config) -> Iterator[str]:
    for run in config.experiment.runs:
        known = [p for p in config.published if p.variant == run.variant]
        for published in known:
            yield _row(name, config, run, published)
        if not known:
            yield _row(name, config, run, None)


def _row(name: str, config: Config, run: Run, published: Published | None) -> str:
    convention = published.convention if published else "plop"
    ours, seeds = our_scores(config, run, convention)
    theirs = numbers(published) if published else dict.fromkeys(COLUMNS)
    status = "ours" if seeds else "published only" if published else "not run"
    gap = difference(ours, theirs)["all"]
    cells = [
        name,
        run.name,
        status,
        _short(theirs),
        f"{_short(ours)} ({seeds} seeds)" if seeds else "-",
        "-" if gap is None else f"{gap:+.1f}",
        convention if published else "-",
        _source(published) if published else "-",
    ]
    return "| " + " | ".join(cells) + " |"


def _source(published: Published) -> str:
    return f"{published.source}; {published.note}" if published.note else published.source


def _short(scores: Scores) -> str:
    if all(scores[column] is None for column in COLUMNS):
        return "-"
    text = " / ".join("?" if scores[c] is None else f"{scores[c]:.2f}".rstrip("0").rstrip(".") for c in COLUMNS[:3])
    return text if scores["avg"] is None else f"{text} (avg {scores['avg']:.2f})"
