"""A real Slurm for every test of this folder, and workspaces whose jobs go through it."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster, missing
from tests.workflow.conftest import Workspace

PROBLEM = missing() or ("" if importlib.util.find_spec("snakemake_executor_plugin_slurm") else "the extra `slurm`")
QUICK = ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "20"]
"""What a cluster on loopback, without accounting and in a hurry, needs beside the profile."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip with the reason where Slurm is not installed: `make test-slurm` installs it."""
    for item in items:
        if "tests/slurm" in item.path.as_posix():
            item.add_marker(pytest.mark.slow)
            if PROBLEM:
                item.add_marker(pytest.mark.skip(reason=f"not installed: {PROBLEM}; run `make test-slurm`"))


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """The one folder that anything is written to; its name is short, because it holds sockets."""
    path = Path(tempfile.mkdtemp(prefix="slurm-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def cluster(folder: Path) -> Iterator[Cluster]:
    """Two logical nodes of 16 CPUs, 100 GB and two GPUs by their own account."""
    running = Cluster(folder / "cluster", nodes=2, cpus=16, gpus=2, memory=100_000)
    try:
        running.start()
        yield running
    finally:
        running.stop()
    assert not running.pids()


class SlurmWorkspace(Workspace):
    """A copy of the repository whose jobs are submitted to a cluster with the shipped profile."""

    def __init__(self, folder: Path, cluster: Cluster, profile: str = "slurm") -> None:
        super().__init__(folder)
        self.cluster, self.profile = cluster, profile

    def command(self, *options: str) -> list[str]:
        base = [sys.executable, "-m", "snakemake", "--workflow-profile", f"profiles/{self.profile}", *QUICK]
        return [*base, "--configfile", "tiny.yaml", *options]

    def environment(self) -> dict[str, str]:
        ours = self.cluster.environment()
        path = f"{Path(sys.executable).parent}:{ours['PATH']}"
        cache = str(self.folder / "cache")
        return {**ours, "PATH": path, "PYTHONPATH": "", "HF_HUB_OFFLINE": "1", "XDG_CACHE_HOME": cache}
