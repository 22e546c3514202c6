"""Snakemake's own plan of an experiment on a user's data; test_all_dry_runs.py has those of the shipped files."""

import subprocess
from pathlib import Path

import pytest

from pipeline.datasets.__main__ import main
from tests.datasets import trees
from tests.workflow.conftest import Workspace

pytestmark = pytest.mark.slow


def plan(work: Workspace, file: str) -> dict[str, int]:
    """Return {rule: jobs} of a dry run with one experiment file."""
    command = [file if part == "tiny.yaml" else part for part in work.command("--dry-run")]
    done = subprocess.run(command, cwd=work.folder, env=work.environment(), capture_output=True, text=True, timeout=900)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text[-3000:]
    block = text.split("Job stats:")[1].split("total")[0]
    pairs = [line.split() for line in block.splitlines() if len(line.split()) == 2]
    return {rule: int(count) for rule, count in pairs if count.isdigit()}


def test_two_commands_train_on_own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = Workspace(tmp_path / "work")
    trees.own(work.folder / "parts")
    monkeypatch.chdir(work.folder)
    assert main(["init", "parts"]) == 0
    planned = plan(work, "parts/experiment.yaml")
    assert (planned["protocol"], planned["train_base"], planned["train_step"]) == (2, 2, 2)
    assert "prepare" not in planned and "minivoc" not in planned
