"""Our results in the conventions of papers, and published values beside them."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.artifacts import Layout
from pipeline.config import Config, parse_config
from pipeline.eval.beside_papers import beside_papers
from pipeline.eval.paper_scores import our_scores
from pipeline.eval.step_means import step_means


@pytest.mark.parametrize(
    ("convention", "expected"),
    [
        ("plop", {"first": 60.0, "last": 30.0, "all": 48.0}),
        ("mib", {"first": 45.0, "last": 30.0, "all": 37.5}),
        ("wilson", {"first": 45.0, "last": 30.0, "all": 48.0}),
    ],
)
def test_conventions_by_hand(convention: str, expected: dict[str, float]) -> None:
    found = step_means([[0.9, 0.5, 0.4, 0.2, 0.4]], 3, convention)
    assert found == pytest.approx({**expected, "avg": expected["all"]})


def experiment(folder: Path, **published: object) -> Config:
    return parse_config(
        {
            "experiment": {"name": "x", "seeds": [0, 1], "results_dir": str(folder), "runs": [{"method": "ft"}]},
            "datasets": {"task": "19-1"},
            "published": [{"method": "ft", "convention": "plop", "source": "a figure", **published}],
        }
    )


def matrix(n: int, right: int) -> np.ndarray:
    """Every class has 100 pixels, `right` of them predicted as itself, the rest as the next class."""
    counts = np.diag([right] * n)
    counts += np.roll(np.diag([100 - right] * n), 1, axis=1)
    return counts


def write(config: Config, seed: int, rights: tuple[int, int]) -> None:
    paths = Layout.of(config)
    for path, n, right in (
        (paths.base("ce", seed, "confusion.npy"), 20, rights[0]),
        (paths.step("ft", seed, 1, "confusion.npy"), 21, rights[1]),
    ):
        Path(path).parent.mkdir(parents=True)
        np.save(path, matrix(n, right))


def test_mean_over_complete_seeds_and_average_over_steps(tmp_path: Path) -> None:
    config = experiment(tmp_path, all=40.0)
    run = config.experiment.runs[0]
    assert our_scores(config, run, "plop") == ({"old": None, "new": None, "all": None, "avg": None}, 0)
    write(config, 0, (80, 50))
    # right / (200 - right): 80 of 100 gives 2/3, 50 gives 1/3.
    scores, seeds = our_scores(config, run, "plop")
    assert seeds == 1 and scores["all"] == pytest.approx(100 / 3, abs=1e-4)
    assert scores["avg"] == pytest.approx(50, abs=1e-4)
    write(config, 1, (80, 80))
    scores, seeds = our_scores(config, run, "plop")
    assert seeds == 2 and scores["all"] == pytest.approx(50, abs=1e-4)
    Path(Layout.of(config).step("ft", 1, 1, "confusion.npy")).unlink()
    assert our_scores(config, run, "plop")[1] == 1, "an unfinished seed does not count"


def test_published_ours_and_difference_are_printed(tmp_path: Path) -> None:
    config = experiment(tmp_path, old=30.0, all=40.0)
    lines = beside_papers(config)
    assert "ft by a figure (plop convention)" in lines
    assert lines[2].split() == ["published", "30.00", "-", "40.00", "-"]
    assert lines[3].split() == ["ours", "-", "-", "-", "-", "0", "seeds"]
    write(config, 0, (80, 50))
    lines = beside_papers(config)
    assert lines[3].split() == ["ours", "33.33", "33.33", "33.33", "50.00", "1", "seeds"]
    assert lines[4].split() == ["difference", "+3.33", "-", "-6.67", "-"]
    assert beside_papers(Config()) == []
