"""Our results in a paper's own convention, from the confusion matrices of a run."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.artifacts import Layout
from pipeline.config import Config, Run
from pipeline.datasets.tasks import classes_per_step
from pipeline.eval.confusion import ConfusionMatrix

COLUMNS = ("old", "new", "all", "avg")
Scores = dict[str, float | None]


def paper_scores(iou: Sequence[float | None], n_base: int, convention: str) -> Scores:
    """Return old, new and all in percent after a step, as a paper of this convention counts them.

    iou: per channel in percent, background first, None for classes without ground truth. `old` means the
    classes of step 0 (`n_base` of them, background included), `new` all later ones.
    """
    first = 0 if convention == "plop" else 1
    return {
        "old": _mean(iou[first:n_base]),
        "new": _mean(iou[n_base:]),
        "all": _mean(iou[1 if convention == "mib" else 0 :]),
    }


def our_scores(config: Config, run: Run, convention: str) -> tuple[Scores, int]:
    """Return the mean over seeds of a run's scores after the last step, and how many seeds there are.

    Seeds whose confusion matrices are not all there do not count; with none every score is None. `avg` is the
    mean of `all` over every step.
    """
    steps = classes_per_step(config.datasets.key, config.datasets.task)
    found: list[Scores] = []
    for seed in config.experiment.seeds:
        files = [_file(config, run, seed, step) for step in range(len(steps))]
        if all(path.exists() for path in files):
            found.append(_of_seed([_iou(path) for path in files], len(steps[0]), convention))
    means: Scores = {}
    for column in COLUMNS:
        known = [value for scores in found if (value := scores[column]) is not None]
        means[column] = statistics.mean(known) if known else None
    return means, len(found)


def _of_seed(iou: Sequence[Sequence[float | None]], n_base: int, convention: str) -> Scores:
    per_step = [paper_scores(row, n_base, convention) for row in iou]
    every = [scores["all"] for scores in per_step]
    return {**per_step[-1], "avg": _mean(every)}


def _iou(path: Path) -> list[float | None]:
    counts = np.load(path, allow_pickle=False)
    matrix = ConfusionMatrix(len(counts))
    matrix.counts += counts
    return [None if np.isnan(value) else 100 * float(value) for value in matrix.iou()]


def _file(config: Config, run: Run, seed: int, step: int) -> Path:
    paths = Layout.of(config)
    if step:
        return Path(paths.step(run.name, seed, step, "confusion.npy"))
    from pipeline.train.recipes import base_recipes

    return Path(paths.base(base_recipes(config)[run.name], seed, "confusion.npy"))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.mean(known) if known else None
