"""What made the page and what it was made from: stands at its foot."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from pipeline.artifacts import read_json
from pipeline.config.plans import plans
from pipeline.eval.report.results import Results, label
from pipeline.runtime.shipped import home, installed

PACKAGES = (
    "web-continual-segmentation",
    "torch",
    "torchvision",
    "numpy",
    "pillow",
    "pyarrow",
    "matplotlib",
    "snakemake",
)


@dataclass(frozen=True)
class Provenance:
    """Date (UTC), commit, command, versions by name, machines, settings as YAML, links by title."""

    date: str
    commit: str
    command: str
    versions: tuple[tuple[str, str], ...]
    machines: tuple[str, ...]
    experiment: str
    trainings: tuple[tuple[str, str], ...]
    links: tuple[tuple[str, str], ...]


def provenance(results: Results, out: Path, command: str, costs: list[dict[str, Any]]) -> Provenance:
    """Return the foot of a page that is written to `out`. SOURCE_DATE_EPOCH, if set, is its date."""
    seconds = os.environ.get("SOURCE_DATE_EPOCH")
    date = datetime.fromtimestamp(int(seconds), UTC) if seconds else datetime.now(UTC)
    config = results.config
    # What the page was made with; other sections it was not told, and their defaults would be invented.
    sections = {"experiment": config.experiment, "datasets": config.datasets}
    shown = {name: section.model_dump(mode="json") for name, section in sections.items()}
    return Provenance(
        date=date.strftime("%Y-%m-%d %H:%M UTC"),
        commit=commit(),
        command=command,
        versions=tuple(_versions()),
        machines=tuple(sorted({_machine(cost) for cost in costs})),
        experiment=yaml.safe_dump(shown, sort_keys=False),
        trainings=tuple(_trainings(results)),
        links=tuple(_links(results, out)),
    )


def commit() -> str:
    """Return the commit of the checkout that runs, `+ changes` if files differ from it; a sentence if there is none."""
    if installed():
        return "installed as a package, without a commit"
    root = str(home())
    try:
        top = _git(root, "rev-parse", "--show-toplevel")
        if Path(top).resolve() != Path(root).resolve():
            return "no checkout of its own"
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
        return _git(root, "rev-parse", "HEAD") + (" + changes" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return "not known: no git checkout"


def _git(root: str, *words: str) -> str:
    done = subprocess.run(["git", "-C", root, *words], capture_output=True, text=True, timeout=20, check=True)
    return done.stdout.strip()


def _versions() -> list[tuple[str, str]]:
    found = [("Python", platform.python_version())]
    for name in PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return found


def _machine(cost: dict[str, Any]) -> str:
    gpu = cost["gpu"]["name"] if cost.get("gpu") else "no GPU"
    return f"{cost.get('host', 'unnamed host')} ({cost.get('machine', 'unknown processor')}, {gpu})"


def _trainings(results: Results) -> list[tuple[str, str]]:
    """Return (what was trained, its resolved settings), of the first seed and the last step."""
    seed, found = results.config.experiment.seeds[0], []
    files = [(results.base_name(run), results.file(run, seed, 0, "config.yaml")) for run in results.base_runs]
    runs = results.config.experiment.chosen
    files += [(label(run), results.file(run, seed, results.steps, "config.yaml")) for run in runs]
    for name, path in files:
        if Path(path).exists():
            found.append((name, Path(path).read_text()))
    return found


def _links(results: Results, out: Path) -> list[tuple[str, str]]:
    paths, steps = results.paths, results.steps
    wanted = [("summary.csv", paths.summary())]
    wanted += [(f"protocol of step {step}", paths.protocol(step)) for step in range(steps + 1)]
    if plans(results.config, steps):
        wanted += [("card of the web pool", paths.card()), ("attribution", paths.card("attribution.csv"))]
        wanted += [("discriminator's metrics", paths.fourier("metrics.json"))]
    wanted += [("logs", f"logs/{paths.results}"), ("logs of the web pool", f"logs/{paths.web()}")]
    return [(title, os.path.relpath(path, out.parent)) for title, path in wanted if Path(path).exists()]


def recorded(results: Results, key: str) -> list[Any]:
    """Return the distinct values that the shown eval.json files have under a key, in the order of the runs."""
    seeds, steps = results.config.experiment.seeds, range(results.steps + 1)
    found = []
    for run in results.config.experiment.chosen:
        for seed in seeds:
            for step in steps:
                value = read_json(results.file(run, seed, step, "eval.json")).get(key)
                if value is not None and value not in found:
                    found.append(value)
    return found
