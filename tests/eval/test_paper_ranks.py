"""Runs beside the rows of each paper, on results that were written by hand."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.artifacts import Layout
from pipeline.config import parse_config
from pipeline.eval.inputs import evaluated
from pipeline.eval.paper_ranks import paper_tables

PAPERS = [("ft", 10.0, "A"), ("lwf", 60.0, "A"), ("plop", 70.0, "A"), ("mib", 65.0, "A"), ("ft", 12.0, "B")]


def test_ranks_are_those_of_measured_rows_of_one_source(tmp_path: Path) -> None:
    raw = {
        "experiment": {"results_dir": str(tmp_path), "runs": [{"method": m} for m in ("ft", "lwf", "plop", "mib")]},
        "datasets": {"task": "19-1"},
        "published": [{"method": m, "all": a, "convention": "plop", "source": s} for m, a, s in PAPERS],
    }
    config = parse_config(raw)
    paths = Layout.of(config)
    assert paper_tables(config) == []
    right = {"ft": 80, "lwf": 50, "plop": 90}
    files = {paths.base("ce", 0, "confusion.npy"): (20, 80)}
    files |= {paths.step(run, 0, 1, "confusion.npy"): (21, n) for run, n in right.items()}
    for path, (classes, n) in files.items():
        Path(path).parent.mkdir(parents=True)
        np.save(path, np.diag([n] * classes) + np.roll(np.diag([100 - n] * classes), 1, axis=1))
    first, second = paper_tables(config)
    # n of 100 right and 100 - n wrong pixels of the class before: n / (200 - n).
    found = [(line.run, line.rank, line.their_rank, line.ours["all"]) for line in first.lines]
    assert [row[:3] for row in found] == [("plop", 1, 1), ("ft", 2, 3), ("lwf", 3, 2)]
    assert [row[3] for row in found] == pytest.approx([9000 / 110, 8000 / 120, 5000 / 150], abs=1e-3)
    assert first.agreement.methods == 3 and first.agreement.spearman == pytest.approx(0.5)
    assert [(line.run, line.gap["all"]) for line in second.lines] == [("ft", pytest.approx(8000 / 120 - 12, abs=1e-3))]
    assert not evaluated(config, config.experiment.runs[0], 1), "a matrix is no evaluation"
