"""kill -9 of the whole process group at random moments, ten times: the same images, captions and weights."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipeline.artifacts import CAPTIONS, INGEST, read_table
from tests.workflow.conftest import Workspace

pytestmark = pytest.mark.slow
KILLED = ("miniweb", "crawl_ingest", "crawl_ingest", "captioning", "captioning", "fourier_filter", "train", "train",
          "train", "eval")  # fmt: skip
"""The stage that must be running, in the order of the graph, before each kill."""


def rows(folder: Path) -> list[dict]:
    tables = sorted((folder / "data" / "web" / "mini" / "shards").glob("*.parquet"))
    return [{k: v for k, v in row.items() if k != "fetched_at"} for path in tables for row in read_table(path, INGEST)]


def captions(folder: Path) -> list[tuple[str, str]]:
    tables = sorted((folder / "data" / "web" / "mini" / "captions" / "tiny").glob("*.parquet"))
    return [(row["image_id"], row["caption"]) for path in tables for row in read_table(path, CAPTIONS)]


def weights(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    files = sorted((folder / "results" / "tiny").rglob("model.safetensors"))
    return {str(path.relative_to(folder)): load_file(path) for path in files}


def test_ten_kills_change_nothing(finished: Workspace, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "killed")
    rng = random.Random(20)
    killed = []
    for stage in KILLED:
        running = subprocess.Popen(
            workspace.command("--nolock"), cwd=workspace.folder, env=workspace.environment(), start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while running.poll() is None and stage not in stages_running(running.pid):
            time.sleep(0.05)
        # From the interpreter's start to the middle of the work, wherever that falls on this machine.
        time.sleep(rng.uniform(0, 4))
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
            killed.append(stage)
        running.wait()
        for path in (workspace.folder / "results").rglob("*.parquet"):
            assert path.stat().st_size > 0
    done = workspace.run("--nolock")
    assert done.returncode == 0, done.stderr[-3000:]
    assert set(killed) >= {"crawl_ingest", "captioning", "train"}, killed
    assert rows(workspace.folder) == rows(finished.folder)
    assert captions(workspace.folder) == captions(finished.folder)
    ours, theirs = weights(workspace.folder), weights(finished.folder)
    assert ours.keys() == theirs.keys() and len(ours) == 5
    for name, tensors in theirs.items():
        assert all(torch.equal(ours[name][key], tensor) for key, tensor in tensors.items()), name
    table = "results/tiny/summary.csv"
    assert (workspace.folder / table).read_text() == (finished.folder / table).read_text()
    assert not [p for p in (workspace.folder / "results").rglob(".resume")]


def stages_running(group: int) -> set[str]:
    """Return the pipeline stages that run in a process group."""
    listed = subprocess.run(["ps", "-o", "args=", "-g", str(group)], capture_output=True, text=True, check=False).stdout
    return {line.split("-m pipeline.")[1].split()[0] for line in listed.splitlines() if "-m pipeline." in line}
