"""Two processes on gloo, and micro-batches: equal to one process, exact after kill -9 and SIGTERM."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import load_file

from pipeline.methods import get, names
from pipeline.methods.recipes import recipe_names
from pipeline.pseudolabel import write_train_list
from pipeline.train import engine
from pipeline.train.preemption import PreemptedError
from pipeline.train.sampler import InterleaveSampler, share
from pipeline.workflow import Workflow
from tests.conftest import ROOT
from tests.distributed.joint_run import run
from tests.train.bench import Bench

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
FLOAT = {"precision": "float32"}
ITERATIONS = 20


@pytest.fixture(scope="module")
def bench(minivoc: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(minivoc, tmp_path_factory.mktemp("distributed"))


# Shares of a batch.


@pytest.mark.parametrize(("batch", "world"), [(24, 2), (24, 4), (24, 12), (6, 3)])
def test_shares_are_what_the_sampler_of_the_specification_deals(batch: int, world: int) -> None:
    """web_wilss.md 5.5: every process alternates; all together see the batch of one process, which 5.5 leaves open."""
    whole = list(InterleaveSampler(31, 17, seed=4, length="first"))
    batches = [whole[i : i + batch] for i in range(0, len(whole) // batch * batch, batch)]
    for rank in range(world):
        mine = [index for one in batches for index in share(one, 31, world, rank)]
        assert mine == list(InterleaveSampler(31, 17, world, rank, seed=4, length="first"))[: len(mine)]


@pytest.mark.parametrize("batch", [6, 8, 24])
@pytest.mark.parametrize("n_first", [40, 1000])
def test_shares_part_the_batch_evenly(batch: int, n_first: int) -> None:
    drawn = np.random.default_rng(batch).permutation(80)[:batch].tolist()
    for world in (d for d in range(1, batch + 1) if batch % d == 0):
        shares = [share(drawn, n_first, world, rank) for rank in range(world)]
        assert sorted(i for one in shares for i in one) == sorted(drawn)
        assert {len(one) for one in shares} == {batch // world}
        counts = [sum(i < n_first for i in one) for one in shares]
        assert max(counts) - min(counts) <= 1


# One process: SIGTERM, and random numbers after an interrupted epoch.


def base_job(bench: Bench, folder: Path, backbone: str = "small_cnn_dropout", **more: Any) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    write_train_list(bench.protocols[0], folder / "list.parquet")
    config = bench.config(backbone, phase={"batch_size": 4, "iterations": 9}, checkpoint_every=100, **FLOAT)
    files = {"protocol": str(bench.protocols[0]), "list": str(folder / "list.parquet"), "out": str(folder)}
    return {"config": config.model_dump(), "recipe": "ce_importance", **files, **more}


def accumulated(job: dict[str, Any]) -> dict[str, Any]:
    """Return the job with its batches in two micro-batches."""
    return {**job, "config": {**job["config"], "train": {**job["config"]["train"], "gradient_accumulation": 2}}}


@pytest.mark.parametrize("recipe", ["ce_importance", "ssul"])
def test_sigterm_saves_and_the_rest_is_exact(recipe: str, bench: Bench, tmp_path: Path, one_thread: Any) -> None:
    """In the middle of an epoch and with dropout: the loader's draw at its start must not be repeated.

    The loss of `ssul` counts pixels, so that its micro-batches pass twice.
    """
    (tmp_path / "cut").mkdir()
    job = base_job(bench, tmp_path / "whole", recipe=recipe)
    job = accumulated(job) if recipe == "ssul" else job
    whole = run(job, tmp_path / "whole")
    cut = run({**job, "sigterm": [0, 4]}, tmp_path / "cut")
    assert cut["said"].endswith("SIGTERM, state saved after 5 iterations")
    assert cut["losses"] == whole["losses"] and cut["digest"] == whole["digest"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL and ".resume" not in cut["files"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_calibration_leaves_at_once(bench: Bench, tmp_path: Path, monkeypatch: Any, number: int) -> None:
    step = bench.step("plop", "small_cnn", 1, bench.base("ce", "small_cnn"), tmp_path)
    real = step.source.calibration

    def calibration(ids: bool = False) -> Any:
        for batch in real():
            os.kill(os.getpid(), number)
            yield batch

    monkeypatch.setattr(step.source, "calibration", calibration)
    with pytest.raises(PreemptedError, match="before the first iteration; nothing to save"):
        engine.train_step(step)


def test_a_state_half_written_is_not_used(bench: Bench, tmp_path: Path, monkeypatch: Any) -> None:
    """Killed while it writes a state, a step still has the one before."""
    real = engine.resume.save_file
    written: list[Path] = []

    def dying(tensors: Any, path: Path) -> None:
        written.append(Path(path))
        if len(written) == 7:
            raise KeyboardInterrupt
        real(tensors, path)

    monkeypatch.setattr(engine.resume, "save_file", dying)
    with pytest.raises(KeyboardInterrupt):
        engine.train_step(bench.step("ft", "small_cnn", 1, bench.base("ce", "small_cnn"), tmp_path))
    assert [path.name for path in (tmp_path / ".resume").iterdir()] == ["2"]


# Two processes inside one torchrun: every method and recipe, norms, SIGTERM to one process.

DRAWS = ("star", "rcil", "base_ce_dual")
"""Steps that draw other random numbers in each process (replayed features, branches): two processes are not one."""
STEPS = [name for name in (*names(), *(f"base_{recipe}" for recipe in recipe_names())) if name not in DRAWS]


def method_job(bench: Bench, method: str, folder: Path) -> dict[str, Any]:
    base = bench.base(get(method).recipe, "small_cnn")
    folder.mkdir(parents=True)
    listed = bench.list_for(method, 1, base, folder)
    files = {"protocol": str(bench.protocols[1]), "list": str(listed), "previous": str(base), "out": str(folder)}
    return {"config": small_config(bench, method), "method": method, **files}


def recipe_job(bench: Bench, recipe: str, folder: Path) -> dict[str, Any]:
    return {**base_job(bench, folder, "small_cnn"), "config": small_config(bench), "recipe": recipe}


def small_config(bench: Bench, method: str = "") -> dict[str, Any]:
    phase = {"batch_size": 4, "iterations": ITERATIONS, "epochs": 5, "lr": 0.001}
    config = bench.config("small_cnn", method, phase=phase, checkpoint_every=100, **FLOAT).model_dump()
    return {**config, "datasets": {**config["datasets"], "train_size": 32}}


Job = subprocess.Popen[bytes]
Results = dict[str, list[dict[str, Any]]]
"""By number of processes, what each of them saw of every job."""


def all_jobs(bench: Bench, folder: Path) -> dict[int, dict[str, dict[str, Any]]]:
    """Return the jobs of one process and of two: every step as it is, with frozen norms, and those in micro-batches."""
    steps = {name: method_job(bench, name, folder / name) for name in names()}
    steps |= {f"base_{recipe}": recipe_job(bench, recipe, folder / f"base_{recipe}") for recipe in recipe_names()}
    frozen = {f"{name} frozen": in_folder({**job, "freeze_bn": True}, "frozen") for name, job in steps.items()}
    parted = {
        f"{name} accumulated": in_folder(accumulated({**job, "freeze_bn": True}), "accumulated")
        for name, job in steps.items()
    }
    rest = {"whole": base_job(bench, folder / "whole"), "cut": base_job(bench, folder / "cut", sigterm=[1, 4])}
    return {1: {**steps, **frozen, **parted, "whole": rest["whole"]}, 2: {**steps, **parted, **rest}}


def in_folder(job: dict[str, Any], name: str) -> dict[str, Any]:
    return {**job, "out": f"{job['out']}/{name}"}


@pytest.fixture(scope="module")
def joint(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Results]:
    """The jobs of two processes, and what one process and two processes saw of theirs."""
    folder = tmp_path_factory.mktemp("joint")
    jobs = all_jobs(bench, folder)
    # Each job of one process alone, but two such processes at a time: there are two cores.
    alone = [dict(list(jobs[1].items())[half::2]) for half in (0, 1)]
    halves = [launched([sys.executable], f"alone{half}", part, folder) for half, part in enumerate(alone)]
    first, second = (results(*half, 1)[0] for half in halves)
    both = launched(TORCHRUN, "both", jobs[2], folder)
    return jobs[2], {"1": [{**first, **second}], "2": results(*both, 2)}


def launched(launcher: list[str], name: str, jobs: dict[str, Any], folder: Path) -> tuple[Job, Path]:
    """Start the jobs in one process or under torchrun; return it and the folder of its results."""
    (folder / name).mkdir()
    (folder / f"{name}.json").write_text(json.dumps(jobs))
    command = [*launcher, "-m", "tests.distributed.joint_run", str(folder / f"{name}.json"), str(folder / name)]
    return subprocess.Popen(command, cwd=ROOT, env=environment()), folder / name


def results(job: Job, folder: Path, size: int) -> list[dict[str, Any]]:
    """Wait for jobs and return what each of their processes saw."""
    assert job.wait(timeout=1200) == 0
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(size)]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


@pytest.mark.slow
@pytest.mark.parametrize("name", STEPS)
def test_two_processes_see_the_losses_of_one(name: str, joint: Any) -> None:
    """At half the batch each: same losses to 1e-5 for 20 iterations, whatever a loss divides by."""
    _, found = joint
    (one,), two = found["1"], found["2"]
    assert_equal(one[name], two[0][name])
    assert two[0][name]["losses"] == two[1][name]["losses"] and two[0][name]["digest"] == two[1][name]["digest"]


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAWS)
def test_processes_that_draw_apart_end_alike(name: str, joint: Any) -> None:
    _, found = joint
    assert found["2"][0][name]["losses"] == found["2"][1][name]["losses"]
    assert found["2"][0][name]["digest"] == found["2"][1][name]["digest"]


@pytest.mark.slow
@pytest.mark.parametrize("name", STEPS)
def test_micro_batches_see_the_losses_of_the_batch(name: str, joint: Any) -> None:
    """With frozen norms: in one process half the batch at a time, in two processes a quarter."""
    _, found = joint
    (one,), two = found["1"], found["2"]
    assert_equal(one[f"{name} frozen"], one[f"{name} accumulated"])
    assert_equal(one[f"{name} frozen"], two[0][f"{name} accumulated"])
    assert two[0][f"{name} accumulated"]["digest"] == two[1][f"{name} accumulated"]["digest"]


def assert_equal(expected: dict[str, Any], got: dict[str, Any]) -> None:
    """Losses of every iteration, and at the end the statistics of norms and method."""
    assert len(expected["losses"]) == len(got["losses"]) == ITERATIONS
    for a, b in zip(expected["losses"], got["losses"], strict=True):
        assert b == pytest.approx(a, rel=1e-5, abs=1e-5)
    assert expected["statistics"].keys() == got["statistics"].keys()
    for name, values in expected["statistics"].items():
        assert got["statistics"][name] == pytest.approx(values, rel=1e-4, abs=1e-5, nan_ok=True), name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plop", "sats"])
def test_thresholds_are_those_of_all_images(name: str, joint: Any) -> None:
    _, found = joint
    thresholds = [process[name]["thresholds"] for size in ("1", "2") for process in found[size]]
    assert thresholds[1] == thresholds[2] == pytest.approx(thresholds[0], abs=1e-4)
    assert len(thresholds[0]) == 17 and not any(map(math.isnan, thresholds[0]))


@pytest.mark.slow
def test_one_process_writes(joint: Any) -> None:
    jobs, found = joint
    for name in jobs:
        if name != "cut":
            assert "model.safetensors" in found["2"][0][name]["files"] and found["2"][1][name]["files"] == []
    cost = json.loads((Path(jobs["ft"]["out"]) / "of2" / "process0" / "cost.json").read_text())
    assert cost["processes"] == 2 and cost["items"] == 4 * ITERATIONS


@pytest.mark.slow
def test_sigterm_to_one_process_stops_both_and_the_rest_is_exact(joint: Any) -> None:
    """Each process has dropout of its own, and goes on with it."""
    _, found = joint
    for process in found["2"]:
        assert process["cut"]["said"].endswith("state saved after 5 iterations")
        assert process["cut"]["losses"] == process["whole"]["losses"]
        assert process["cut"]["digest"] == process["whole"]["digest"]
    assert found["2"][0]["whole"]["losses"] != found["1"][0]["whole"]["losses"]


@pytest.mark.slow
def test_norms_share_statistics_or_are_refused(joint: Any) -> None:
    _, found = joint
    for process in found["2"]:
        assert process["norms"]["off"] < 1e-5
        plain, foreign, unshared = process["norms"]["refused"]
        assert plain.startswith("norm `0` (BatchNorm2d) does not share its statistics between the 2 processes")
        assert foreign.startswith("norm `0` (_Foreign) does not share") and "on a CPU" in unshared


# The command, with its processes killed.


def command(bench: Bench, listed: Path, out: Path, accumulate: int = 1, **changes: Any) -> list[str]:
    phase = {"batch_size": 4, "iterations": 24, **changes}
    config = bench.config("small_cnn", phase=phase, checkpoint_every=3, gradient_accumulation=accumulate).model_dump(
        mode="json"
    )
    settings = json.dumps({key: config[key] for key in ("train", "datasets")})
    files = ["--protocol", str(bench.protocols[0]), "--train-list", str(listed), "--out", str(out)]
    return ["--processes", "2", "base", "--recipe", "ce", "--seed", "0", *files, "--settings", settings]


@pytest.fixture
def start() -> Iterator[Callable[[list[str], Path], Job]]:
    """Start a training command with its messages in a file; whatever still runs afterwards is ended."""
    jobs: list[Job] = []

    def started(arguments: list[str], log: Path) -> Job:
        line = [sys.executable, "-m", "pipeline.train", *arguments]
        with log.open("wb") as file:
            jobs.append(subprocess.Popen(line, cwd=ROOT, stderr=file, env=environment()))
        return jobs[-1]

    yield started
    for job in jobs:
        if job.poll() is None:
            for process in [*psutil.Process(job.pid).children(recursive=True), job]:
                process.kill()


def member(job: Job, rank: int) -> psutil.Process:
    for child in psutil.Process(job.pid).children(recursive=True):
        if child.environ().get("RANK") == str(rank):
            return child
    raise AssertionError("the job has no such process")


def wait_for(job: Job, folder: Path, pattern: str) -> None:
    while job.poll() is None and not list(folder.glob(pattern)):
        time.sleep(0.01)
    assert job.poll() is None, f"the job ended before there was {pattern}"


@pytest.mark.slow
def test_killed_and_preempted_jobs_end_as_if_nothing_had_happened(bench: Bench, tmp_path: Path, start: Any) -> None:
    listed, states = tmp_path / "list.parquet", ".resume/[0-9]*/facts.json"
    write_train_list(bench.protocols[0], listed)
    assert start(command(bench, listed, tmp_path / "whole", 2), tmp_path / "whole.log").wait(timeout=400) == 0
    whole = load_file(tmp_path / "whole" / "model.safetensors")
    for name, code, word in (("killed", 137, "process 1 of 2 was ended by SIGKILL"), ("preempted", 75, "SIGTERM")):
        out, log = tmp_path / name, tmp_path / f"{name}.log"
        job = start(command(bench, listed, out, 2), log)
        wait_for(job, out, "config.yaml")
        second = member(job, 1)
        wait_for(job, out, states)
        _ = second.kill() if name == "killed" else job.send_signal(signal.SIGTERM)
        assert job.wait(timeout=400) == code, log.read_text()
        assert word in log.read_text() and not (out / "model.safetensors").exists()
        assert list(out.glob(states))
        assert start(command(bench, listed, out, 2), log).wait(timeout=400) == 0, log.read_text()
        assert "continuing at iteration" in log.read_text()
        got = load_file(out / "model.safetensors")
        assert whole.keys() == got.keys() and all(torch.equal(whole[key], got[key]) for key in whole)
        assert not (out / ".resume").exists()


@pytest.mark.slow
def test_a_batch_that_does_not_divide_is_one_clear_line(bench: Bench, tmp_path: Path, start: Any) -> None:
    listed, log = tmp_path / "list.parquet", tmp_path / "log"
    write_train_list(bench.protocols[0], listed)
    assert start(command(bench, listed, tmp_path / "out", batch_size=5), log).wait(timeout=400) == 2
    assert "error: batch_size 5 does not divide among 2 processes" in log.read_text()
    assert "Traceback" not in log.read_text()


# The rules.


def test_processes_are_no_reason_to_train_again() -> None:
    raw = {"experiment": {"runs": [{"method": "ft"}]}, "train": {"threads": 3}}
    alone, several = Workflow(raw), Workflow({**raw, "train": {"threads": 3, "world_size": 4}})
    assert (alone.base_settings(), alone.run_settings("ft")) == (several.base_settings(), several.run_settings("ft"))
    assert (alone.training_threads(), several.training_threads()) == (3, 12)


def test_micro_batches_and_norms_are_a_reason_to_train_again() -> None:
    raw = {"experiment": {"runs": [{"method": "ft"}]}}
    plain = Workflow(raw)
    for key, value in (("gradient_accumulation", 2), ("freeze_bn", True)):
        other = Workflow({**raw, "train": {key: value}})
        assert json.loads(other.run_settings("ft"))["train"][key] == value
        assert other.run_settings("ft") != plain.run_settings("ft") and other.base_settings() != plain.base_settings()
