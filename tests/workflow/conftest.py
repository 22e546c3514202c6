"""A whole experiment, only tiny, run by Snakemake in a copy of the repository."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.workflow.planning import planned_jobs

ROOT = Path(__file__).parents[2]
COPIED = ("pipeline", "rules", "profiles", "experiments")
TINY = {
    "experiment": {"name": "tiny"},
    "datasets": {"minivoc_train": 120, "minivoc_val": 40, "train_size": 48, "eval_size": 48},
    "miniweb": {"images_per_new_class": 20, "images_per_base_class": 8, "faults": 0.1, "duplicates": 0.1},
    "crawl_ingest": {"per_class": 16, "base_per_class": 8, "replay_queries": 16, "per_caption": 3, "shards": 1},
    "captioning": {"captioner": {"beams": 1}},
    "fourier_filter": {"discriminator": {"resize": 40, "crop": 32, "epochs": 2, "held_out_repeats": 1,
                                         "held_out_epochs": 1}, "selection": {"budget": 6}},
    "pseudolabel": {"replay_budget": 12},
    "train": {"base": {"epochs": 8, "iterations": 40, "batch_size": 8, "lr": 0.05},
              "step": {"epochs": 8, "iterations": 24, "batch_size": 8, "lr": 0.005}, "checkpoint_every": 4,
              "threads": 1},
    "eval": {"overlays": 2},
}  # fmt: skip


class Workspace:
    """A copy of the repository with the tiny experiment's configuration."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if (folder / "tiny.yaml").exists():
            return
        for name in COPIED:
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("Snakefile", "config.yaml", "weights.lock"):
            shutil.copy(ROOT / name, folder / name)
        self.overlay(TINY)

    def overlay(self, settings: dict) -> None:
        """Write the experiment file."""
        (self.folder / "tiny.yaml").write_text(yaml.safe_dump(settings))

    def command(self, *options: str) -> list[str]:
        base = [sys.executable, "-m", "snakemake", "--cores", "2", "--workflow-profile", "profiles/default"]
        return [*base, "--configfile", "tiny.yaml", *options]

    def environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "PYTHONPATH": "", "HF_HUB_OFFLINE": "1"}

    def run(self, *options: str, timeout: float = 900) -> subprocess.CompletedProcess[str]:
        """Run Snakemake to its end."""
        return subprocess.run(
            self.command(*options),
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def command_output(self, *words: str) -> str:
        """Return what a Python command prints."""
        return subprocess.run(
            [sys.executable, *words],
            cwd=self.folder, env=self.environment(), capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip

    def planned(self, *options: str) -> dict[str, int]:
        """Return {rule: jobs} that a dry run would execute."""
        done = self.run("--dry-run", *options)
        assert done.returncode == 0, done.stdout + done.stderr
        return planned_jobs(done.stdout + done.stderr)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The tiny experiment, run to its end once; tests must not change it for good."""
    # While writing tests, PIPELINE_TINY names a finished folder to use again.
    reused = os.environ.get("PIPELINE_TINY")
    workspace = Workspace(Path(reused) if reused else tmp_path_factory.mktemp("tiny"))
    done = workspace.run()
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return workspace
