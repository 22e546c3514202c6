"""Our results in a paper's own convention, from the confusion matrices of a run."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.artifacts import Layout
from pipeline.config import Config, Run
from pipeline.datasets.tasks import classes_per_step
from pipeline.eval.step_means import step_means
from pipeline.metrics.confusion import ConfusionMatrix

COLUMNS = ("old", "new", "all", "avg")
Scores = dict[str, float | None]


def our_scores(config: Config, run: Run, convention: str) -> tuple[Scores, int]:
    """Return the mean over seeds of a run's scores after the last step, and how many seeds there are.

    `old` means the classes of step 0, `new` all later ones, `avg` the mean of `all` over every step. Seeds whose
    confusion matrices are not all there do not count; with none every score is None.
    """
    steps = classes_per_step(config.datasets.key, config.datasets.task)
    found: list[Scores] = []
    for seed in config.experiment.seeds:
        files = [_file(config, run, seed, step) for step in range(len(steps))]
        if all(path.exists() for path in files):
            found.append(_of_seed(files, len(steps[0]), convention))
    means: Scores = {}
    for column in COLUMNS:
        known = [value for scores in found if (value := scores[column]) is not None]
        means[column] = statistics.mean(known) if known else None
    return means, len(found)


def _of_seed(files: Sequence[Path], n_base: int, convention: str) -> Scores:
    rows = [ConfusionMatrix.load(path).iou() for path in files]
    table = np.full((len(rows), len(rows[-1])), np.nan)
    for step, row in enumerate(rows):
        table[step, : len(row)] = row
    means = step_means(table.tolist(), n_base, convention)
    columns = zip(COLUMNS, ("first", "last", "all", "avg"), strict=True)
    return {column: None if math.isnan(means[name]) else means[name] for column, name in columns}


def _file(config: Config, run: Run, seed: int, step: int) -> Path:
    paths = Layout.of(config)
    if step:
        return Path(paths.step(run.name, seed, step, "confusion.npy"))
    from pipeline.methods.recipes import base_recipes

    return Path(paths.base(base_recipes(config)[run.name], seed, "confusion.npy"))
