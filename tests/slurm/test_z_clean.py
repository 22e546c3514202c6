"""After all of it: no process, and no file outside the one folder. (Runs last: files are collected by name.)"""

from __future__ import annotations

from pathlib import Path

from tests.slurm.cluster import Cluster

SYSTEM = ("/etc/slurm", "/etc/munge", "/var/spool/slurmctld", "/var/spool/slurmd", "/var/log/slurm", "/var/lib/slurm",
          "/var/lib/munge", "/var/log/munge", "/run/munge", "/run/slurm")  # fmt: skip


def test_nothing_is_left(folder: Path, cluster: Cluster) -> None:
    cluster.stop()
    assert cluster.pids() == []
    started = (folder / "cluster" / "slurm.conf").stat().st_mtime
    written = [path for root in SYSTEM for path in Path(root).rglob("*") if path.lstat().st_mtime >= started]
    assert written == []
    for path in folder.rglob("*.pid"):
        assert not path.exists() or path.read_text().strip() == ""
