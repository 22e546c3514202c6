"""The bill holds every job of every rule."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.workflow.conftest import ROOT, Workspace

WITHOUT = {"isolated_environment"}
"""Rules that are no command of ours: installing packages."""
FIELDS = {"wall_seconds", "cpu_seconds", "peak_memory_mb", "items", "unit", "items_per_second", "gpu"}


def kinds() -> dict[str, str]:
    """Return {rule: kind of job on the bill}, read from the rules' shell commands."""
    found = {"pool_protocol": "datasets protocol"}
    rule = re.compile(r"^ *rule (\w+):\n(.*?)(?=^ *(?:rule|use rule) |\Z)", re.MULTILINE | re.DOTALL)
    for path in (ROOT / "rules").glob("*.smk"):
        for name, body in rule.findall(path.read_text()):
            command = re.search(r"-m pipeline\.(\w+)(?:\.\w+)?(?: --\w+ \S+)? ([\w-]+)", body)
            assert command or name in WITHOUT, f"rule {name} runs no command that records its cost"
            if command:
                found[name] = "train" if command[1] == "train" else f"{command[1]} {command[2]}"
    return found


def test_every_rule_is_a_command_that_records_its_cost() -> None:
    assert len(kinds()) > 25


@pytest.mark.slow
def test_the_bill_counts_every_job_of_a_finished_experiment(finished: Workspace) -> None:
    planned = finished.planned("--forceall")
    expected: Counter[str] = Counter()
    for rule, jobs in planned.items():
        expected[kinds()[rule]] += jobs
    done = finished.command_output(
        "-m", "pipeline.eval.cost_summary", "--config", "config.yaml", "--config", "tiny.yaml", "--json"
    )
    lines = {line["job"]: line for line in json.loads(done)}
    assert {name: line["jobs"] for name, line in lines.items() if name != "all"} == expected
    assert lines["all"]["jobs"] == sum(expected.values())
    assert all(line["cpu_hours"] > 0 and line["peak_memory_mb"] > 1 and line["items"] > 0 for line in lines.values())
    page = (finished.folder / "results" / "tiny" / "report" / "index.html").read_text()
    # The report cannot know its own cost.
    assert not [name for name in expected if f"<td>{name}</td>" not in page and name != "eval report"]


@pytest.mark.slow
def test_every_record_is_whole(finished: Workspace) -> None:
    records = [path for path in finished.folder.rglob("*cost.json") if ".snakemake" not in path.parts]
    assert len(records) > 40
    for path in records:
        assert set(json.loads(Path(path).read_text())) >= FIELDS, path
