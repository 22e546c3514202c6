"""Jobs that fail, run too long or are cancelled are tried again with more; small jobs share submissions."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.conftest import PATIENCE, QUICK, SNAKEMAKE, SlurmWorkspace
from tests.slurm.mishaps import facts

pytestmark = pytest.mark.timeout(420 * PATIENCE)
TOY = Path(__file__).with_name("toy.smk")


class Toy(SlurmWorkspace):
    """A folder with the toy workflow alone."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self.folder, self.cluster = folder, cluster
        folder.mkdir()
        shutil.copy(TOY, folder / "Snakefile")

    def command(self, *options: str) -> list[str]:
        base = [*SNAKEMAKE, "--executor", "slurm", "--jobs", "6", "--cores", "4", *QUICK]
        return [*base, "--slurm-no-account", "--slurm-keep-successful-logs", *options]


def submitted(cluster: Cluster, rule: str) -> list[list[str]]:
    """Return state, requested memory, time limit and number of a rule's jobs, oldest first."""
    jobs = cluster.jobs("%k|%T|%m|%l|%i")
    return [rest for comment, *rest in jobs if comment.removeprefix("rule_").split("_wildcards_")[0] == rule]


def when_running(cluster: Cluster, rule: str) -> str:
    """Return a rule's job as soon as it runs."""
    jobs: list[str] = []

    def found() -> bool:
        jobs.extend(job[-1] for job in submitted(cluster, rule) if job[0] == "RUNNING")
        return bool(jobs)

    cluster.wait(f"{rule} to run", found, 90 * PATIENCE)
    return jobs[0]


@pytest.fixture(scope="module")
def small_jobs(folder: Path, cluster: Cluster) -> Iterator[tuple[Toy, subprocess.Popen[bytes]]]:
    """Two hundred small jobs on their way, while other tests wait for Slurm's minutes."""
    made = Toy(folder / "small", cluster)
    with made.started("--config", "small=200", "--group-components", "small=50", "--", "many") as running:
        yield made, running


@pytest.fixture(scope="module")
def toy(folder: Path, cluster: Cluster, small_jobs: object) -> Toy:
    """The toy workflow, run to its end with one retry while the test cancels one job."""
    made = Toy(folder / "toy", cluster)
    with made.started("--retries", "1", "--keep-going") as running:
        cluster("scancel", when_running(cluster, "cancelled"))
        running.wait(240 * PATIENCE)
    assert running.returncode == 0, made.log.read_text()[-4000:] + cluster.logs()
    return made


def test_a_failed_job_is_tried_again_with_more_memory(toy: Toy, cluster: Cluster) -> None:
    states = [(state, memory) for state, memory, *_ in submitted(cluster, "fails_once")]
    assert states == [("FAILED", "300M"), ("COMPLETED", "600M")]
    assert (toy.folder / "fails_once.txt").read_text() == "600\n"


def test_a_job_over_its_time_is_tried_again_with_more(toy: Toy, cluster: Cluster) -> None:
    states = [(state, limit) for state, _, limit, _ in submitted(cluster, "too_long")]
    assert states == [("TIMEOUT", "1:00"), ("COMPLETED", "2:00")]
    assert (toy.folder / "too_long.txt").read_text() == "2\n"


def test_a_cancelled_job_is_tried_again(toy: Toy, cluster: Cluster) -> None:
    assert [job[0] for job in submitted(cluster, "cancelled")] == ["CANCELLED", "COMPLETED"]
    assert (toy.folder / "cancelled.txt").read_text() == "2\n"


def test_gpus_are_given_by_number_and_type_under_either_name(toy: Toy, cluster: Cluster) -> None:
    assert (toy.folder / "gpus.txt").read_text() == "0,1\n"
    assert len((toy.folder / "gres.txt").read_text().strip()) == 1
    given = {job["Comment"]: (job["NodeList"], job.get("TresPerJob"), job.get("TresPerNode"))
             for rule in ("gpus", "gres") for job in [facts(cluster, submitted(cluster, rule)[0][-1])]}  # fmt: skip
    assert given == {"rule_gpus": ("node1", "gres:gpu:type1:2", None), "rule_gres": ("node2", None, "gres:gpu:type2:1")}


def test_two_hundred_small_jobs_are_four_submissions(
    small_jobs: tuple[Toy, subprocess.Popen[bytes]], cluster: Cluster
) -> None:
    made, running = small_jobs
    assert running.wait(400 * PATIENCE) == 0, made.log.read_text()[-3000:]
    assert len(list((made.folder / "small").glob("*.txt"))) == 200
    assert [state for state, *_ in submitted(cluster, "small_small")] == ["COMPLETED"] * 4


def test_an_interrupted_snakemake_takes_its_jobs_with_it(folder: Path, cluster: Cluster) -> None:
    with Toy(folder / "endless", cluster).started("--", "endless.txt") as running:
        job = when_running(cluster, "endless")
        running.send_signal(signal.SIGINT)
        assert running.wait(60 * PATIENCE) != 0
    cluster.wait("the cancellation", lambda: job not in cluster("squeue", "-h", "-o", "%i").split())
    assert [state for state, *_ in submitted(cluster, "endless")] == ["CANCELLED"]
