"""The whole tiny experiment through Slurm on a bad day: one of each of the mishaps happens to it.

The weights must be those that one machine trains without any of it, bit for bit.
"""

from __future__ import annotations

import copy
import re
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.slurm.cluster import Cluster
from tests.slurm.conftest import PATIENCE, SlurmWorkspace
from tests.slurm.mishaps import KINDS, Mishaps, facts
from tests.workflow.conftest import TINY

pytestmark = pytest.mark.timeout(600 * PATIENCE)
SETTINGS = copy.deepcopy(TINY)
SETTINGS["experiment"]["runs"] = [
    {"method": "ft"},
    {"method": "web_wilss", "new_images": "web", "filters": "both", "replay": True},
]
SETTINGS["train"]["base"].update(iterations=120)
SETTINGS["train"]["step"].update(iterations=120)
SETTINGS["train"]["checkpoint_every"] = 8
LIMIT = 540 * PATIENCE
"""Seconds for the whole experiment."""


@dataclass
class BadDay:
    """A finished workspace and what happened to it."""

    workspace: SlurmWorkspace
    jobs: dict[str, list[dict[str, str]]]
    """{rule or group: what Slurm knows of its jobs}, oldest first."""
    struck: dict[str, tuple[str, str]]
    """{mishap: (job, node)}"""
    drained: str
    """State of the drained node when all had ended."""

    def continued(self, folder: str) -> int:
        """Return the iteration at which the last attempt at a training went on."""
        log = (self.workspace.folder / "logs" / folder / "train.log").read_text()
        found = re.search(r"continuing at iteration (\d+)", log)
        assert found, log[-2000:]
        return int(found[1])


@pytest.fixture(scope="module")
def bad_day(folder: Path, cluster: Cluster) -> BadDay:
    workspace = SlurmWorkspace(folder / "experiment", cluster)
    workspace.overlay(SETTINGS)
    mishaps = Mishaps(cluster, workspace.folder)
    end = time.monotonic() + LIMIT
    with workspace.started("--jobs", "4") as running:
        while running.poll() is None and time.monotonic() < end:
            mishaps.strike()
            time.sleep(0.3)
    assert running.returncode == 0, workspace.log.read_text()[-5000:] + cluster.logs()
    assert set(mishaps.struck) == set(KINDS), "the experiment ended before everything had happened to it"
    jobs: dict[str, list[dict[str, str]]] = {}
    for number, comment in cluster.jobs("%i|%k"):
        rule = comment.removeprefix("rule_").split("_wildcards_")[0]
        jobs.setdefault(rule, []).append(facts(cluster, number))
    node = mishaps.struck["drain"][1]
    drained = cluster("sinfo", "-h", "-n", node, "-p", "main", "-o", "%T").strip()
    cluster("scontrol", "update", f"NodeName={node}", "State=RESUME")
    return BadDay(workspace, jobs, mishaps.struck, drained)


def test_it_ends_and_nothing_is_left_to_do(bad_day: BadDay) -> None:
    results = bad_day.workspace.folder / "results" / "tiny"
    assert (results / "summary.csv").read_text().count("\n") >= 5
    assert (results / "report" / "index.html").exists()
    assert bad_day.workspace.planned() == {}
    assert not list(results.rglob(".resume"))


def test_both_nodes_worked_and_every_job_got_what_its_rule_asks_for(bad_day: BadDay) -> None:
    assert {job["NodeList"] for jobs in bad_day.jobs.values() for job in jobs} >= {"node1", "node2"}
    asked = {"train_step": ("32000M", "1-00:00:00", True), "caption": ("16000M", "02:00:00", True),
             "fit_discriminator": ("8000M", "02:00:00", False), "merge": ("2000M", "00:20:00", False)}  # fmt: skip
    for rule, (memory, minutes, gpu) in asked.items():
        for job in bad_day.jobs[rule]:
            assert (job["MinMemoryNode"], job["TimeLimit"]) == (memory, minutes), rule
            assert (job.get("TresPerJob", "").endswith("gpu:1")) == gpu, rule


def test_small_jobs_shared_submissions(bad_day: BadDay) -> None:
    for group in ("nouns", "protocols", "noun_filters"):
        submissions = [job for name, jobs in bad_day.jobs.items() if name.startswith(group) for job in jobs]
        assert len(submissions) == 1, group


def test_a_job_ran_on_while_the_controller_was_away(bad_day: BadDay, cluster: Cluster) -> None:
    job = facts(cluster, bad_day.struck["restart_controller"][0])
    assert (job["JobState"], job["Restarts"]) == ("COMPLETED", "0")


def test_a_cancelled_and_a_killed_training_are_tried_again_and_go_on_where_they_were(bad_day: BadDay) -> None:
    tries = bad_day.jobs["train_base"]
    for kind, recipe, state in (("cancel", "ce", "CANCELLED"), ("kill", "bce", "FAILED")):
        mine = [job for job in tries if f"wildcards_{recipe}" in job["Comment"]]
        # 64000M is 62.50G in the words of scontrol.
        assert [(job["JobState"], job["MinMemoryNode"]) for job in mine] == [(state, "32000M"), ("COMPLETED", "62.50G")]
        assert mine[0]["JobId"] == bad_day.struck[kind][0]
        assert bad_day.continued(f"results/tiny/base/{recipe}/seed0") >= 8


def test_a_preempted_training_is_requeued_and_goes_on_where_it_was(bad_day: BadDay, cluster: Cluster) -> None:
    job = facts(cluster, bad_day.struck["preempt"][0])
    assert (job["JobState"], job["Restarts"]) == ("COMPLETED", "1")
    assert bad_day.continued("results/tiny/ft/seed0/step1") >= 8


def test_a_training_of_a_drained_node_goes_on_on_another_one(bad_day: BadDay, cluster: Cluster) -> None:
    number, node = bad_day.struck["drain"]
    job = facts(cluster, number)
    assert (job["JobState"], job["Restarts"]) == ("COMPLETED", "1") and job["NodeList"] != node
    assert bad_day.drained == "drained"
    assert bad_day.continued("results/tiny/web_wilss/seed0/step1") >= 8


def test_the_weights_are_those_of_one_machine_undisturbed(bad_day: BadDay) -> None:
    results = bad_day.workspace.folder / "results" / "tiny"
    theirs = {path: load_file(path) for path in sorted(results.rglob("model.safetensors"))}
    assert len(theirs) == 4
    again = ("--forcerun", "train_base", "train_step", "--until", "train_step")
    done = bad_day.workspace.run_here(*again, timeout=240 * PATIENCE)
    assert done.returncode == 0, done.stderr[-3000:]
    for path, tensors in theirs.items():
        folder = bad_day.workspace.folder
        log = folder / "logs" / path.relative_to(folder).with_name("train.log")
        assert "continuing" not in log.read_text()
        ours = load_file(path)
        assert all(torch.equal(ours[key], tensor) for key, tensor in tensors.items()), path
