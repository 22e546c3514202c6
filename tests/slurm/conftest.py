"""A real Slurm for every test of this folder, and workspaces whose jobs go through it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster, missing
from tests.workflow.conftest import Workspace

PROBLEM = missing() or ("" if importlib.util.find_spec("snakemake_executor_plugin_slurm") else "the extra `slurm`")
PATIENCE = float(os.environ.get("PIPELINE_PATIENCE", "1"))
"""Factor of every time limit of these tests; raise it on a machine that is busy with other things."""
SNAKEMAKE = [sys.executable, "-P", str(Path(__file__).with_name("quick.py"))]
QUICK = ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "1",
         "--max-status-checks-per-second", "10", "--latency-wait", "20"]  # fmt: skip
"""What a cluster on loopback, without accounting and in a hurry, needs beside the profile."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip with the reason where Slurm is not installed: `make test-slurm` installs it."""
    for item in items:
        if "tests/slurm" in item.path.as_posix():
            item.add_marker(pytest.mark.slow)
            if PROBLEM:
                item.add_marker(pytest.mark.skip(reason=f"not installed: {PROBLEM}; run `make test-slurm`"))
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(180 * PATIENCE))


@pytest.fixture(scope="session")
def folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    """The one folder that anything is written to; its name is short, because it holds sockets. Kept if a test fails."""
    path = Path(tempfile.mkdtemp(prefix="slurm-"))
    yield path
    if request.session.testsfailed:
        print(f"\nlogs of daemons and jobs are kept in {path}", file=sys.stderr)
    else:
        shutil.rmtree(path)


@pytest.fixture(scope="session")
def cluster(folder: Path) -> Iterator[Cluster]:
    """Two logical nodes of 16 CPUs, 150 GB and two GPUs by their own account."""
    running = Cluster(folder / "cluster", nodes=2, cpus=16, memory=150_000)
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
        base = [*SNAKEMAKE, "--workflow-profile", f"profiles/{self.profile}", *QUICK]
        return [*base, "--configfile", "tiny.yaml", *options]

    def environment(self) -> dict[str, str]:
        ours = self.cluster.environment()
        path = f"{Path(sys.executable).parent}:{ours['PATH']}"
        cache = str(self.folder / "cache")
        return {**ours, "PATH": path, "PYTHONPATH": "", "HF_HUB_OFFLINE": "1", "XDG_CACHE_HOME": cache}

    def run_here(self, *options: str, timeout: float) -> subprocess.CompletedProcess[str]:
        """Run Snakemake on this machine alone to its end, without the cluster."""
        return subprocess.run(Workspace.command(self, *options), cwd=self.folder, env=self.environment(),
                              capture_output=True, text=True, timeout=timeout, check=False)  # fmt: skip

    @contextmanager
    def started(self, *options: str) -> Iterator[subprocess.Popen[bytes]]:
        """Snakemake in the background, its output in `self.log`; killed if it still runs at the end of the block."""
        with self.log.open("wb") as log:
            running = subprocess.Popen(self.command(*options), cwd=self.folder, env=self.environment(), stdout=log,
                                       stderr=subprocess.STDOUT)  # fmt: skip
        try:
            yield running
        finally:
            running.kill()
            running.wait()

    @property
    def log(self) -> Path:
        """Where `started` writes."""
        return self.folder / "snakemake.log"
