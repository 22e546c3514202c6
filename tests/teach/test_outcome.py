"""The comparison at the end: what is forgotten, what is too much, and what is said without a truth."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.artifacts import write_json
from pipeline.config import Config, parse_config
from pipeline.teach import __main__ as command
from pipeline.teach.outcome import outcome
from tests.protocols import protocol_at

BEFORE = {"background": 90.0, "nut": 80.0, "bolt": 60.0, "washer": None}
AFTER = {"background": 70.0, "nut": 79.0, "bolt": 47.0, "washer": 10.0, "sheep": 30.0}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A finished experiment, as far as the comparison reads it."""
    monkeypatch.chdir(tmp_path)
    results = Path("out/results/taught")
    steps = ((0, 1, 2, 3), (4,))
    names = {1: "nut", 2: "bolt", 3: "washer", 4: "sheep"}
    (results / "protocol").mkdir(parents=True)
    protocol_at(results / "protocol" / "step1.json", dataset="own:d", task="taught", step=1, classes_per_step=steps,
                order=(0, 1, 2, 3, 4), class_names=names)  # fmt: skip
    for folder, iou, counts in (
        (results / "base" / "bce" / "seed0", BEFORE, np.diag([5, 3, 2, 0])),
        (results / "web_wilss" / "seed0" / "step1", AFTER, np.eye(5, dtype=np.int64)[[0, 1, 1, 3, 4]]),
    ):
        folder.mkdir(parents=True)
        write_json(folder / "eval.json", {"iou": iou, "images": 12})
        np.save(folder / "confusion.npy", counts)
    experiment = {"name": "taught", "results_dir": "out/results",
                  "runs": [{"method": "web_wilss", "new_images": "web", "replay": True}]}  # fmt: skip
    return parse_config({"experiment": experiment, "teach": {"check": "truth", "max_forgetting": 6.5}})


def test_old_classes_lose_on_average(config: Config) -> None:
    found = outcome(config)
    # (80 - 79 + 60 - 47) / 2: background does not count, and the washer was not measured before
    assert found.forgetting == 7.0 and found.too_much
    assert found.warning()[1:] == ["  bolt: 13.0 points"]
    assert not replace(found, max_forgetting=7.0).too_much and not replace(found, max_forgetting=7.0).warning()
    nut, bolt, sheep = found.rows[1], found.rows[2], found.rows[4]
    assert (nut.area_before, nut.area_after) == (30.0, 40.0) and (bolt.area_before, bolt.area_after) == (20.0, 0.0)
    assert (sheep.before, sheep.after, sheep.lost, sheep.area_before) == (None, 30.0, None, 0.0)


def test_too_much_is_exit_code_3_and_a_table(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command._tell(config, Path("out"))
    assert ended.value.code == 3
    printed = capsys.readouterr()
    assert "warning: the old classes lost 7.0 points" in printed.err and "bolt: 13.0 points" in printed.err
    rows = Path("out/outcome.csv").read_text().splitlines()
    assert rows[0] == "class,before,after,lost,area_before,area_after" and rows[2] == "nut,80.0,79.0,1.0,30.0,40.0"
    assert rows[4] == "washer,,10.0,,0.0,20.0"


def test_little_forgetting_is_success(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    teach = config.teach.model_copy(update={"max_forgetting": 8.0})
    command._tell(config.model_copy(update={"teach": teach}), Path("out"))
    printed = capsys.readouterr()
    assert not printed.err and "against their true masks" in printed.out


def test_without_a_truth_that_is_said(config: Config) -> None:
    found = outcome(config.model_copy(update={"teach": config.teach.model_copy(update={"check": ""})}))
    assert any("Nothing was measured against a truth" in line for line in found.lines())
    assert replace(found, images=0).lines() == [
        "Nothing was measured: without --check and --like there is no image to compare the models on."
    ]


def test_the_command_line_decides_how_much_may_be_forgotten(config: Config) -> None:
    assert outcome(command._allowing(config, None)).too_much
    assert not outcome(command._allowing(config, 8.0)).too_much
