"""From a folder of images and masks to a trained and evaluated step by the two commands of the readme."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.artifacts import read_json
from tests.datasets import trees

ROOT = Path(__file__).parents[2]
PHASE = {"epochs": 2, "batch_size": 4, "lr": 0.01, "iterations": 3}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A copy of the repository whose defaults train a few iterations on small crops."""
    for name in ("pipeline", "rules", "profiles", "experiments"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Snakefile", tmp_path)
    defaults = yaml.safe_load((ROOT / "config.yaml").read_text())
    defaults["datasets"].update(train_size=32, eval_size=32)
    defaults["train"].update(base=PHASE, step=PHASE, threads=1, tensorboard=False)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(defaults))
    return tmp_path


def typed(command: str, folder: Path) -> str:
    """Run a line as a user types it with the environment active; return what it prints."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": "", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done.stdout


@pytest.mark.slow
def test_two_commands_lead_to_a_trained_step(repository: Path) -> None:
    name = "my data"
    trees.own(repository / name, n=24)
    printed = typed(f"python -m pipeline.datasets init {shlex.quote(f'{name}/')}", repository)
    command = printed.strip().splitlines()[-1].removeprefix("next: ")
    assert command.startswith("snakemake --cores 2 --configfile ")
    typed(command, repository)
    results = repository / "results" / "my_data"
    for method in ("ft", "wilson"):
        step = results / method / "seed0" / "step1"
        assert (step / "model.safetensors").exists() and len((step / "log.csv").read_text().splitlines()) > 1
        found = read_json(step / "eval.json")
        assert set(found["iou"]) == {"background", "nut", "bolt", "washer", "gear"}
        assert found["dataset"] == f"own:{name}" and found["all"] is not None
    rows = (results / "summary.csv").read_text().splitlines()
    assert len(rows) > 4 and (results / "report" / "index.html").exists()


def test_the_readme_and_the_page_name_the_same_two_commands() -> None:
    page, readme = ((ROOT / path).read_text() for path in ("docs/data.md", "README.md"))
    assert "python -m pipeline.datasets init my_data/" in readme and "python -m pipeline.datasets init my_data/" in page
    for text in (page, readme):
        assert "snakemake --cores 2 --configfile my_data/experiment.yaml" in text
