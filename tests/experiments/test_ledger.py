"""The ledger: nothing stands there that no result file backs."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.artifacts import Layout
from pipeline.config import load_config
from pipeline.eval.published_table import ROOT, all_keys
from pipeline.experiments.__main__ import main
from pipeline.experiments.ledger import LEDGER, write_ledger

NAME = "voc_19-1_overlap_resnet101"


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three of the experiments, so that the tests stay fast."""
    names = (NAME, "voc_19-1_overlap_resnet101_ssul", "ade_100-10_partition_resnet101")
    keys = [key for key in all_keys() if key.name in names]
    monkeypatch.setattr("pipeline.experiments.ledger.all_keys", lambda: keys)


def rows(path: Path) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    for line in path.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and cells[0] != "experiment":
            found[cells[0], cells[1]] = cells[2:]
    return found


def write_results(folder: Path, right: int, steps: tuple[int, ...] = (0, 1)) -> None:
    overrides = json.dumps({"experiment": {"results_dir": str(folder)}})
    config = load_config([ROOT / "experiments" / f"{NAME}.yaml"], overrides)
    paths = Layout.of(config)
    for step, n in ((0, 20), (1, 21)):
        if step in steps:
            base = paths.base("ce_importance", 42, "confusion.npy")
            path = Path(base if step == 0 else paths.step("plop", 42, 1, "confusion.npy"))
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, np.diag([right] * n) + np.roll(np.diag([100 - right] * n), 1, axis=1))


def test_without_results_there_is_published_only(tmp_path: Path) -> None:
    overrides = json.dumps({"experiment": {"results_dir": str(tmp_path)}})
    assert write_ledger(tmp_path / "L.md", overrides=overrides) == 0
    found = rows(tmp_path / "L.md")
    assert found[NAME, "plop"][:4] == ["published only", "75.35 / 37.35 / 73.54 (avg 75.47)", "-", "-"]
    assert "here: labels by each method" in found[NAME, "pi"][-1] and "here:" not in found[NAME, "plop"][-1]
    assert found["voc_19-1_overlap_resnet101_ssul", "ssul+m"][1] == "77.83 / 49.76 / 76.49"
    assert found["ade_100-10_partition_resnet101", "mib"][1] == "31.8 / ? / 25.9"


def test_ours_needs_every_evaluation(tmp_path: Path) -> None:
    overrides = json.dumps({"experiment": {"results_dir": str(tmp_path)}})
    write_results(tmp_path, 80, steps=(1,))
    assert write_ledger(tmp_path / "L.md", overrides=overrides) == 0
    write_results(tmp_path, 80)
    assert write_ledger(tmp_path / "L.md", overrides=overrides) == 1
    # 80 of 100 right and 20 wrong pixels of the class before: 80 / 120.
    status, _, ours, gap, *_ = rows(tmp_path / "L.md")[NAME, "plop"]
    assert (status, ours, gap) == ("ours", "66.67 / 66.67 / 66.67 (avg 66.67) (1 seeds)", "-6.9")


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = json.dumps({"experiment": {"results_dir": str(tmp_path)}})
    assert main(["ledger", "--out", str(tmp_path / "L.md"), "--settings", settings]) == 0
    assert "0 rows of ours" in capsys.readouterr().out


def test_the_shipped_ledger_lists_every_run() -> None:
    from pipeline.eval import published_table as table

    found = rows(LEDGER)
    assert {name for name, _ in found} == {key.name for key in table.all_keys()}
