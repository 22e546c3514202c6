"""A published experiment with one command on a small tree of VOC's layout, and the word when VOC is not there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.datasets import trees
from tests.workflow.conftest import Workspace

pytestmark = pytest.mark.slow
FILE = "experiments/voc_15-5_overlap_plop.yaml"
PHASE = {"epochs": 1, "iterations": 2, "batch_size": 2}
SMALL = {
    "datasets": {"subset": True, "train_size": 48, "eval_size": 48},
    "train": {"backbone": "small_cnn", "pretrained": "", "workers": 0, "threads": 1, "tensorboard": False,
              "base": PHASE, "step": PHASE},
    "eval": {"overlays": 1},
}  # fmt: skip


@pytest.fixture
def work(tmp_path: Path) -> Workspace:
    work = Workspace(tmp_path / "work")
    (work.folder / "small.yaml").write_text(yaml.safe_dump(SMALL))
    return work


def run(work: Workspace, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=work.folder, env=work.environment(), capture_output=True, text=True, timeout=800,
    )  # fmt: skip


def snakemake(work: Workspace, *options: str) -> subprocess.CompletedProcess[str]:
    profile = ("--cores", "2", "--workflow-profile", "profiles/default")
    return run(work, "snakemake", *options, *profile, "--configfile", FILE, "small.yaml")


def test_one_command_ends_in_published_ours_and_difference(work: Workspace) -> None:
    trees.official_voc(work.folder / "data" / "voc")
    done = snakemake(work)
    assert done.returncode == 0, done.stderr[-5000:]
    results = work.folder / "results" / "voc_15-5_overlap_plop"
    assert (results / "report" / "index.html").stat().st_size > 10_000
    said = (work.folder / "logs" / "prepare_voc.log").read_text()
    assert "train: 56 of 56 images and masks readable" in said
    configs = [part for file in ("config.yaml", FILE, "small.yaml") for part in ("--config", file)]
    printed = run(work, "pipeline.eval", "summary", "--steps", "1", *configs).stdout
    assert "plop by PLOP" in printed and "75.73" in printed and "difference" in printed


def test_without_the_data_the_official_page_is_named(work: Workspace) -> None:
    done = snakemake(work, f"results/{Path(FILE).stem}/protocol/step0.json")
    assert done.returncode == 1
    assert "host.robots.ox.ac.uk" in done.stdout + done.stderr
