"""Dry runs of a second or two: Snakemake and the pipeline are imported once, and every dry run is a fork of that.

Artifacts are stand-ins here, files that hold their own name, which Snakemake takes for its own by `--touch`: what is
tested is which jobs it plans. tests/workflow/test_whole.py asks some of it of a finished experiment.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import io
import multiprocessing
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
PRELOADED = ["snakemake.cli", "pipeline.workflow", "pipeline.methods"]
BASE = ["--cores", "1", "--workflow-profile", "profiles/default", "--nolock", "--quiet", "rules"]


class Planned:
    """A copy of the workflow with an experiment of which everything is there."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder, self.settings = folder, settings
        for name in ("rules", "profiles"):
            shutil.copytree(ROOT / name, folder / name)
        for name in ("Snakefile", "config.yaml"):
            shutil.copy(ROOT / name, folder / name)

    def make(self) -> None:
        """Put a stand-in where every artifact belongs."""
        self.overlay(self.settings)
        for name in self.outputs():
            path = self.folder / name
            if path.suffix or path.name.startswith("."):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(name)
            else:
                path.mkdir(parents=True, exist_ok=True)
        self.snakemake("--forceall", "--touch")
        assert self.jobs() == {}, "a finished experiment has nothing to do"

    def outputs(self) -> dict[str, str]:
        """Return {output file: rule} of the whole graph."""
        lines = self.snakemake("--summary").splitlines()
        start = next(number for number, line in enumerate(lines) if line.startswith("output_file"))
        columns = lines[start].split("\t")
        file, rule = columns.index("output_file"), columns.index("rule")
        return {words[file]: words[rule] for line in lines[start + 1 :] if len(words := line.split("\t")) > rule}

    def overlay(self, settings: Mapping[str, Any]) -> None:
        """Write the experiment file."""
        (self.folder / "tiny.yaml").write_text(yaml.safe_dump(dict(settings)))

    @contextlib.contextmanager
    def changed(self, key: str, value: Any) -> Iterator[None]:
        """Change a dotted key for a while."""
        self.overlay(with_key(self.settings, key, value))
        try:
            yield
        finally:
            self.overlay(self.settings)

    def jobs(self, *options: str, versions: Mapping[str, int] | None = None) -> dict[str, int]:
        """Return {rule: jobs} that a dry run would execute, with the code versions of some stages raised."""
        return planned_jobs(self.snakemake("--dry-run", *options, versions=versions))

    def snakemake(self, *options: str, versions: Mapping[str, int] | None = None) -> str:
        """Run Snakemake in a fresh child and return what it said."""
        arguments = [*BASE, "--configfile", "tiny.yaml", *options]
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        with ProcessPoolExecutor(1, context) as child:
            code, said = child.submit(_run, str(self.folder), arguments, dict(versions or {})).result()
        assert code == 0, said[-3000:]
        return said


def planned_jobs(text: str) -> dict[str, int]:
    """Return {rule: jobs} of what a dry run said, without `all`."""
    if "Nothing to be done" in text:
        return {}
    table = text.split("Job stats:")[1].split("total")[0]
    pairs = [line.split() for line in table.splitlines() if len(line.split()) == 2]
    return {rule: int(jobs) for rule, jobs in pairs if jobs.isdigit() and rule != "all"}


def with_key(settings: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Return a copy of an experiment's settings with one dotted key changed."""
    made: dict[str, Any] = copy.deepcopy(dict(settings))
    place = made
    *parents, last = key.split(".")
    for parent in parents:
        place = place.setdefault(parent, {})
    place[last] = value
    return made


@contextlib.contextmanager
def edited(path: Path, text: str) -> Iterator[None]:
    """Replace a file's text for a while."""
    before = path.read_text()
    path.write_text(text)
    try:
        yield
    finally:
        path.write_text(before)


def _run(folder: str, arguments: Sequence[str], versions: Mapping[str, int]) -> tuple[int, str]:
    from snakemake.cli import main

    os.chdir(folder)
    for stage, version in versions.items():
        importlib.import_module(f"pipeline.{stage}").STAGE_VERSION = version  # type: ignore[attr-defined]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            main(list(arguments))
        except SystemExit as end:
            return int(end.code or 0), said.getvalue()
    raise AssertionError("Snakemake always exits")
