"""Snakemake's own plan of shipped experiments; tests/experiments/test_experiments.py walks the graphs of all."""

import subprocess
from pathlib import Path

import pytest

from pipeline.datasets.__main__ import main
from tests.datasets import trees
from tests.workflow.conftest import Workspace

pytestmark = pytest.mark.slow
EXPECTED = {
    "voc_15-5_overlap_plop": {
        "prepare": 1,
        "protocol": 2,
        "train_base": 1,
        "train_step": 1,
        "evaluate": 1,
        "report": 1,
    },
    "voc_15-1_overlap_ssul": {"prepare": 1, "detect_saliency": 1, "train_base": 1, "train_step": 10, "evaluate": 10},
    "coco-voc_voc_disjoint_web_wilss_web100": {"prepare": 1, "fit_discriminator": 1, "pseudolabel": 1, "train_step": 1},
}


def plan(work: Workspace, file: str) -> dict[str, int]:
    """Return {rule: jobs} of a dry run with one experiment file."""
    command = [file if part == "tiny.yaml" else part for part in work.command("--dry-run")]
    done = subprocess.run(command, cwd=work.folder, env=work.environment(), capture_output=True, text=True, timeout=900)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text[-3000:]
    block = text.split("Job stats:")[1].split("total")[0]
    pairs = [line.split() for line in block.splitlines() if len(line.split()) == 2]
    return {rule: int(count) for rule, count in pairs if count.isdigit()}


@pytest.mark.parametrize("name", EXPECTED)
def test_dry_run(name: str, tmp_path: Path) -> None:
    planned = plan(Workspace(tmp_path / "work"), f"experiments/{name}.yaml")
    assert {rule: planned.get(rule, 0) for rule in EXPECTED[name]} == EXPECTED[name]


def test_two_commands_train_on_own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = Workspace(tmp_path / "work")
    trees.own(work.folder / "parts")
    monkeypatch.chdir(work.folder)
    assert main(["init", "parts"]) == 0
    planned = plan(work, "parts/experiment.yaml")
    assert (planned["protocol"], planned["train_base"], planned["train_step"]) == (2, 2, 2)
    assert "prepare" not in planned and "minivoc" not in planned
