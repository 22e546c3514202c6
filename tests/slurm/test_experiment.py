"""The whole tiny experiment through Slurm on a bad day: the controller restarts, and training is preempted.

The weights must be those that one machine trains without any of it, bit for bit.
"""

from __future__ import annotations

import copy
import os
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.slurm.cluster import Cluster
from tests.slurm.conftest import SlurmWorkspace
from tests.workflow.conftest import TINY, Workspace

SETTINGS = copy.deepcopy(TINY)
SETTINGS["experiment"]["runs"] = [
    {"method": "ft"},
    {"method": "web_wilss", "new_images": "web", "filters": "both", "replay": True},
]
SETTINGS["train"]["step"].update(iterations=160)
SETTINGS["train"]["checkpoint_every"] = 8
PATIENCE = 840 * float(os.environ.get("PIPELINE_PATIENCE", "1"))
"""Seconds for the whole experiment; raise the factor on a machine that is busy with other things."""
PREEMPTED = "results/tiny/ft/seed0/step1"


@dataclass
class BadDay:
    """A finished workspace and what happened to it."""

    workspace: SlurmWorkspace
    jobs: dict[str, list[list[str]]]
    """{rule: [[state, node, CPUs, MB, minutes, GPUs, restarts]]}"""
    preempted: str
    seconds: float


def rule_of(comment: str) -> str:
    return comment.removeprefix("rule_").split("_wildcards_")[0]


def preempt(cluster: Cluster, node: str) -> None:
    """Take a whole node for two seconds, ahead of everybody."""
    cluster("sbatch", "-p", "urgent", "-w", node, "--exclusive", "-o", "/dev/null", "--wrap", "sleep 2")


@pytest.fixture(scope="module")
def bad_day(folder: Path, cluster: Cluster) -> BadDay:
    workspace = SlurmWorkspace(folder / "experiment", cluster)
    workspace.overlay(SETTINGS)
    started = time.monotonic()
    log = folder / "snakemake.log"
    with log.open("w") as file:
        running = subprocess.Popen(workspace.command("--jobs", "4"), cwd=workspace.folder, env=workspace.environment(),
                                   stdout=file, stderr=subprocess.STDOUT)  # fmt: skip
        restarted, preempted = False, ""
        while running.poll() is None and time.monotonic() - started < PATIENCE:
            if not restarted and (workspace.folder / "data/web/mini/shards/base-00000.tar").exists():
                cluster.stop_controller()
                time.sleep(3)
                cluster.start_controller()
                restarted = True
            if not preempted and (workspace.folder / PREEMPTED / ".resume").exists():
                mine = [
                    row
                    for row in cluster.jobs("%i|%T|%N|%k")
                    if row[1] == "RUNNING" and "train_step_wildcards_ft" in row[3]
                ]
                if mine:
                    preempted = mine[0][0]
                    preempt(cluster, mine[0][2])
            if preempted:
                # Slurm 22.05 holds a requeued job for two minutes, whatever requeue_delay says.
                for number, state, reason in cluster.jobs("%i|%T|%r"):
                    if state == "PENDING" and reason == "BeginTime":
                        cluster("scontrol", "update", f"JobId={number}", "StartTime=now", check=False)
            time.sleep(0.2)
        if running.poll() is None:
            running.kill()
    running.wait()
    assert running.returncode == 0, log.read_text()[-5000:] + cluster.logs()
    assert restarted and preempted, "the experiment ended before anything happened to it"
    jobs: dict[str, list[list[str]]] = {}
    for number, comment, *facts in cluster.jobs("%i|%k|%T|%N|%C|%m|%l|%b"):
        text = cluster("scontrol", "show", "job", number)
        restarts = re.search(r"Restarts=(\d+)", text)
        gpus = re.search(r"(?:TresPerJob|TresPerNode)=\S*gpu:(\d+)", text)
        facts = [*facts[:-1], gpus[1] if gpus else "0", restarts[1] if restarts else "0"]
        jobs.setdefault(rule_of(comment), []).append(facts)
    return BadDay(workspace, jobs, preempted, time.monotonic() - started)


def test_it_ends_and_nothing_is_left_to_do(bad_day: BadDay) -> None:
    results = bad_day.workspace.folder / "results" / "tiny"
    assert (results / "summary.csv").read_text().count("\n") >= 5
    assert (results / "report" / "index.html").exists()
    assert bad_day.workspace.planned() == {}
    assert not list(results.rglob(".resume"))


def test_both_nodes_worked_and_every_job_got_what_its_rule_asks_for(bad_day: BadDay) -> None:
    rows = [row for rule in bad_day.jobs.values() for row in rule]
    assert {row[1] for row in rows} >= {"node1", "node2"}
    train = bad_day.jobs["train_step"]
    assert len(train) == 2 and all(row[3] == "32000M" and row[4] == "1-00:00:00" and row[5] == "1" for row in train)
    assert all(row[3] == "16000M" and row[5] == "1" for row in bad_day.jobs["caption"])
    assert all(row[3] == "2000M" and row[5] == "0" for row in bad_day.jobs["merge"])


def test_small_jobs_shared_submissions(bad_day: BadDay) -> None:
    for group, members in (("nouns", 4), ("protocols", 4), ("noun_filters", 3)):
        submissions = [row for name, rows in bad_day.jobs.items() if name.startswith(group) for row in rows]
        assert len(submissions) == 1, f"{members} jobs of {group}: {len(submissions)} submissions"


def test_the_preempted_step_was_requeued_and_went_on_where_it_was(bad_day: BadDay) -> None:
    assert "1" in [row[-1] for row in bad_day.jobs["train_step"]]
    log = (bad_day.workspace.folder / "logs" / PREEMPTED / "train.log").read_text()
    found = re.search(r"continuing at iteration (\d+)", log)
    assert found and int(found[1]) >= 8, log[-2000:]


def test_the_weights_are_those_of_one_machine(bad_day: BadDay) -> None:
    results = bad_day.workspace.folder / "results" / "tiny"
    theirs = {path: load_file(path) for path in sorted(results.rglob("model.safetensors"))}
    assert len(theirs) == 4
    local = Workspace(bad_day.workspace.folder)
    done = local.run("--forcerun", "train_base", "train_step", "--until", "train_step")
    assert done.returncode == 0, done.stderr[-3000:]
    for path, tensors in theirs.items():
        again = load_file(path)
        assert all(torch.equal(again[key], tensor) for key, tensor in tensors.items()), path
