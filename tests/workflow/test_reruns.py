"""What a change runs again, and what it does not: every row of docs/reruns.md, asserted by a dry run."""

import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from tests.workflow.conftest import ROOT, TINY, Workspace
from tests.workflow.planning import Planned, edited

pytestmark = pytest.mark.slow

RUNS = [
    {"method": "ft"},
    {"method": "wilson", "new_images": "web", "filters": "none"},
    {"method": "web_wilss", "new_images": "web", "filters": "both", "replay": True},
]


def table(number: int) -> dict[str, tuple[str, dict[str, int]]]:
    """Return {change: (how, {rule: jobs})} of a table of the document."""
    text = (ROOT / "docs" / "reruns.md").read_text().split("| --- | --- | --- |\n")[number + 1].split("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    return {
        change: (how.strip("`"), {rule: int(count) for rule, count in re.findall(r"`(\w+)` (\d+)", jobs)})
        for change, how, jobs in rows
    }


KNOWN, OWN = table(0), table(1)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Planned:
    """The tiny experiment, as if finished."""
    made = Planned(tmp_path_factory.mktemp("planned"), TINY)
    made.make()
    return made


@pytest.mark.parametrize("change", KNOWN)
def test_a_change_runs_exactly_these_jobs(experiment: Planned, change: str) -> None:
    how, expected = KNOWN[change]
    versions, targets = {}, []
    with ExitStack() as stack:
        kind, _, what = how.partition(" ")
        path = experiment.folder / what
        if kind == "comment":
            stack.enter_context(edited(path, f"{path.read_text()}\n# a comment\n"))
        elif kind == "version":
            versions[what] = 99
        elif kind in ("delete", "restore"):
            held = path.rename(path.with_name("held"))
            stack.callback(held.rename, path)
            targets = ["--", what] if kind == "restore" else []
        elif kind == "write":
            stack.enter_context(edited(path, "other bytes"))
        elif how:
            key, value = kind.removesuffix(":"), yaml.safe_load(what) if what[0] not in "+-" else runs(what)
            stack.enter_context(experiment.changed(key, value))
        assert experiment.jobs(*targets, versions=versions) == expected


def runs(what: str) -> list[dict]:
    """Return the runs with one more (`+ {...}`) or one less (`- method`)."""
    given = yaml.safe_load(what[1:])
    return [*RUNS, given] if what[0] == "+" else [run for run in RUNS if run["method"] != given]


@pytest.fixture
def own(tmp_path: Path) -> Planned:
    """An experiment on own data with two classes, as if finished."""
    made = Planned(tmp_path, {
        "experiment": {"name": "mine", "runs": [{"method": "ft"}, {"method": "wilson", "new_images": "web"}]},
        "datasets": {"name": "own", "root": "mine", "task": "one"}, "crawl_ingest": {"shards": 1},
    })  # fmt: skip
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "classes.txt").write_text("background\ndog\ncat\n")
    (tmp_path / "mine" / "tasks.yaml").write_text("one: [[0, 1], [2]]\n")
    made.make()
    return made


def test_what_changed_classes_of_own_data_run(own: Planned) -> None:
    names, tasks = own.folder / "mine" / "classes.txt", own.folder / "mine" / "tasks.yaml"
    with edited(tasks, "one: [[0, 1], [2, 3]]\n"), edited(names, "background\ndog\ncat\nkite\n"):
        assert own.jobs() == OWN["a class added"][1]
    with edited(names, "background\ndog\nlynx\n"):
        assert own.jobs() == OWN["a class renamed, so another query"][1]


def verified(finished: Workspace) -> str:
    """Return what the command that moves damaged artifacts aside prints."""
    words = [sys.executable, "-m", "pipeline.experiments.verify", "--config", "config.yaml", "--config", "tiny.yaml"]
    environment = finished.environment()
    done = subprocess.run(words, cwd=finished.folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    return done.stdout


def test_a_corrupted_artifact_is_named_and_made_again(finished: Workspace) -> None:
    target = "results/tiny/selection/step1/new_classes.parquet"
    table = finished.folder / "results" / "tiny" / "selection" / "step1" / "noun_filter.parquet"
    whole = table.read_bytes()
    table.write_bytes(whole[: len(whole) // 2])
    try:
        failed = finished.run("--", target)
        said = failed.stdout + failed.stderr
        assert failed.returncode != 0 and "noun_filter.parquet is not readable Parquet" in said
        assert "delete it and rerun its stage" in said
        assert f"{table.relative_to(finished.folder)}: " in verified(finished)
        assert not table.exists() and finished.planned("--", target)["noun_filter"] == 1
        done = finished.run("--", target)
        assert done.returncode == 0, done.stderr[-3000:]
        assert table.read_bytes() == whole
    finally:
        table.write_bytes(whole)
        table.with_name(f"{table.name}.damaged").unlink(missing_ok=True)
    # What was made again is what it was, so nothing that follows runs.
    assert finished.planned() == {}


def test_dates_and_a_rules_text_rerun_nothing_under_the_profiles_policy(experiment: Planned) -> None:
    rules = experiment.folder / "rules" / "train.smk"
    model = experiment.folder / "results" / "tiny" / "base" / "bce" / "seed0" / "model.safetensors"
    policy = ["--rerun-triggers", "mtime", "params", "input", "software-env", "--max-checksum-file-size", "1000000000"]
    with edited(rules, rules.read_text().replace("python -m pipeline.train", "python  -m pipeline.train")):
        assert experiment.jobs()["train_step"] == 3, "by default a rule's text counts"
        model.touch()
        assert experiment.jobs(*policy) == {}
