"""Tests that are killed leave no daemon and no job behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.slurm.cluster import Cluster, arguments

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys, time
from pathlib import Path
from tests.slurm.cluster import Cluster
cluster = Cluster(Path(sys.argv[1]), nodes=1)
cluster.start()
cluster("sbatch", "-o", "/dev/null", "--wrap", "sleep 4000")
print("up", flush=True)
time.sleep(4000)
"""


def test_a_guard_stops_everything_when_the_tests_are_killed(folder: Path) -> None:
    left = Cluster(folder / "killed")
    started = subprocess.Popen([sys.executable, "-c", PROGRAM, str(left.folder)], cwd=ROOT, stdout=subprocess.PIPE)
    assert started.stdout
    try:
        assert started.stdout.readline() == b"up\n"
        left.wait("the job", lambda: any("sleep 4000" in " ".join(arguments(pid)) for pid in left.pids()))
        assert {arguments(pid)[0] for pid in left.pids()} >= {"munged", "slurmctld", "slurmd"}
    finally:
        started.kill()
        started.communicate()
    left.wait("the guard", lambda: not left.pids())
