"""What goes wrong with the experiment: each method strikes when its moment has come, and returns the job it hit."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

from tests.slurm.cluster import Cluster, arguments

BASES = "results/tiny/base"
KINDS = ("restart_controller", "cancel", "kill", "preempt", "drain")


class Mishaps:
    """One of each kind. `struck` holds {kind: (job, node)} of those that have happened."""

    def __init__(self, cluster: Cluster, workspace: Path) -> None:
        self.cluster, self.workspace = cluster, workspace
        self.struck: dict[str, tuple[str, str]] = {}

    def strike(self) -> None:
        """Do what is due, each kind once, and let requeued jobs start again at once."""
        for kind in KINDS:
            if kind not in self.struck and (hit := getattr(self, kind)()):
                self.struck[kind] = hit
        # Slurm 22.05 holds a requeued job for two minutes, whatever requeue_delay says.
        for number, state, reason in self.cluster.jobs("%i|%T|%r"):
            if state == "PENDING" and reason == "BeginTime":
                self.cluster("scontrol", "update", f"JobId={number}", "StartTime=now", check=False)

    def restart_controller(self) -> tuple[str, str] | None:
        """slurmctld is away for three seconds while the data set is captioned."""
        if hit := self.running("caption_dataset"):
            self.cluster.stop_controller()
            time.sleep(3)
            self.cluster.start_controller()
        return hit

    def cancel(self) -> tuple[str, str] | None:
        """Somebody cancels a training that has a state to continue from."""
        if hit := self.training("train_base_wildcards_ce", f"{BASES}/ce/seed0"):
            self.cluster("scancel", hit[0])
        return hit

    def kill(self) -> tuple[str, str] | None:
        """A training is killed as by the kernel when memory is short."""
        hit = self.training("train_base_wildcards_bce", f"{BASES}/bce/seed0")
        found = [pid for pid in self.cluster.pids() if {"pipeline.train", "bce"} <= set(arguments(pid))] if hit else []
        for pid in found:
            os.kill(pid, signal.SIGKILL)
        return hit if found else None

    def preempt(self) -> tuple[str, str] | None:
        """A partition that goes first takes the whole node of a training for two seconds."""
        if hit := self.training("train_step_wildcards_ft", "results/tiny/ft/seed0/step1"):
            self.cluster("sbatch", "-p", "urgent", "-w", hit[1], "--exclusive", "-o", "/dev/null", "--wrap", "sleep 2")
            self.cluster.wait("the preemption", lambda: self.running("train_step_wildcards_ft") is None)
        return hit

    def drain(self) -> tuple[str, str] | None:
        """A node is drained for maintenance and its training sent to another one."""
        hit = self.training("train_step_wildcards_web_wilss", "results/tiny/web_wilss/seed0/step1")
        if "preempt" in self.struck and hit:
            self.cluster("scontrol", "update", f"NodeName={hit[1]}", "State=DRAIN", "Reason=maintenance")
            self.cluster("scontrol", "requeue", hit[0])
            return hit
        return None

    def training(self, comment: str, folder: str) -> tuple[str, str] | None:
        """Return job and node of a running training that has saved a state, None if there is none."""
        saved = any(path.name.isdigit() for path in (self.workspace / folder).glob(".resume/*"))
        return self.running(comment) if saved else None

    def running(self, comment: str) -> tuple[str, str] | None:
        """Return job and node of a running job by the beginning of its comment, None if there is none."""
        jobs = self.cluster.jobs("%i|%N|%T|%k")
        mine = [row for row in jobs if row[2] == "RUNNING" and row[3].startswith(f"rule_{comment}")]
        return (mine[0][0], mine[0][1]) if mine else None


def facts(cluster: Cluster, job: str) -> dict[str, str]:
    """Return what `scontrol show job` knows of a job."""
    return dict(re.findall(r"(\w+)=(\S+)", cluster("scontrol", "show", "job", job)))
