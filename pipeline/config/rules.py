"""What no single field can know: settings that contradict each other, and names that become folders and commands.

Every function returns its complaints, one line each, so that a user sees all mistakes at once.
"""

from __future__ import annotations

import glob
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.config.plans import mini_web
from pipeline.config.sections import Config

SAFE_NAME = re.compile(r"\w[\w.-]*")
"""Names of folders and words of commands: letters, digits, `_`, `.` and `-`, not beginning with a dot or dash."""
MAX_NAME = 100
LICENCE_CODES = ("by", "by-nc", "by-nc-nd", "by-nc-sa", "by-nd", "by-sa", "cc0", "pdm", "unknown")
PLACEHOLDER = "example.org"
OPEN_WEB = ("openverse", "commons", "flickr", "url_list")
"""Sources that ask somebody else's servers."""


def complaints(config: Config) -> list[str]:
    """Return one line per mistake that spans fields, in the order of the sections."""
    found = [*_names(config), *_numbers(config), *_experiment(config), *_crawl(config), *_training(config)]
    return [f"config: {line}" for line in found]


def unsafe(name: str) -> str:
    """Return why a name cannot be a folder and a word of a command, empty if it can."""
    if len(name) > MAX_NAME:
        return f"has {len(name)} characters, at most {MAX_NAME} are allowed"
    if not SAFE_NAME.fullmatch(name):
        return "becomes a folder; use letters, digits, `_`, `.` and `-`, not beginning with a dot or dash"
    return ""


def _names(config: Config) -> Iterator[str]:
    named = {
        "experiment.name": config.experiment.name,
        "crawl_ingest.pool": config.crawl_ingest.pool,
        "captioning.captioner.name": config.captioning.captioner.name,
        **{f"experiment.runs.{i}.variant": run.variant for i, run in enumerate(config.experiment.runs) if run.variant},
    }
    for key, name in named.items():
        if reason := unsafe(name):
            yield f"`{key}` is {_short(name)} and {reason}"
    for key, path in (
        ("experiment.data_dir", config.experiment.data_dir),
        ("experiment.results_dir", config.experiment.results_dir),
        ("datasets.root", config.datasets.root),
    ):
        if not path or any(ord(c) < 32 for c in path) or set(path) & set("{}\"'`$;&|<>*?"):
            yield f"`{key}` is {_short(path)}; expected a folder's path without quotes, braces or shell characters"


def _numbers(config: Config) -> Iterator[str]:
    for key, value in _leaves(config.model_dump(exclude={"methods", "published"})):
        if isinstance(value, float) and not math.isfinite(value):
            yield f"`{key}` is {value}; expected a finite number"
    low, high = config.datasets.train_area
    if not 0 < low <= high:
        yield f"`datasets.train_area` is [{low}, {high}]; expected 0 < smallest <= largest"


def _experiment(config: Config) -> Iterator[str]:
    if not config.experiment.runs:
        yield "`experiment.runs` is empty; name at least one method, such as `- {method: ft}`"
    if negative := [seed for seed in config.experiment.seeds if seed < 0]:
        yield f"`experiment.seeds` holds {negative[0]}; seeds are 0 or greater"
    for index, run in enumerate(config.experiment.runs):
        if run.new_images != "web" and "filters" in run.model_fields_set and run.filters not in ("none", "both"):
            yield (
                f"`experiment.runs.{index}.filters` is `{run.filters}`, but run `{run.name}` takes no web images; "
                "set new_images: web, or remove filters"
            )


def _crawl(config: Config) -> Iterator[str]:
    crawl = config.crawl_ingest
    for entry in crawl.licences:
        code = entry.strip().lower().split(" ")[0]
        if code not in LICENCE_CODES and not entry.strip().lower().startswith(("http://", "https://", "cc ", "cc-")):
            yield f"`crawl_ingest.licences` holds `{entry}`; known codes: {', '.join(LICENCE_CODES)}"
    if any(ord(c) < 32 or ord(c) > 126 for c in crawl.user_agent) or not crawl.user_agent.strip():
        yield f"`crawl_ingest.user_agent` is {_short(crawl.user_agent)}; expected printable ASCII"


def before_start(config: Config) -> list[str]:
    """Return one line per thing that a run needs and a dry run does not: files of the user's, a way to reach them."""
    crawl, train = config.crawl_ingest, config.train
    found = []
    crawls = any(run.new_images == "web" or run.replay for run in config.experiment.chosen)
    if crawls and crawl.source in OPEN_WEB and not mini_web(config) and PLACEHOLDER in crawl.user_agent:
        found.append(
            "`crawl_ingest.user_agent` is still the placeholder; the open web must be able to reach you, "
            "write an address or a mail there"
        )
    needed = {
        "train.pretrained": train.pretrained,
        "datasets.lists": config.datasets.lists,
        "captioning.vocabulary": config.captioning.vocabulary,
        "crawl_ingest.path": crawl.path if crawls and crawl.source in ("url_list", "folder", "authors") else "",
    }
    # A list of addresses may be a pattern.
    found += [f"`{k}` names {p}, which is not there" for k, p in needed.items() if p and not _exists(p)]
    return [f"config: {line}" for line in found]


def _exists(path: str) -> bool:
    return Path(path).exists() or any(glob.iglob(path))


def _training(config: Config) -> Iterator[str]:
    train = config.train
    parts = train.world_size * train.gradient_accumulation
    # A command is handed one phase alone; the other is then a default that nobody trains with.
    phases = {f"train.{name}": getattr(train, name) for name in ("base", "step") if name in train.model_fields_set}
    if "train.step" in phases:
        for index, run in enumerate(config.experiment.runs):
            if run.train.step.batch_size:
                phases[f"experiment.runs.{index}.train.step"] = run.step_phase(train.step)
    for name, phase in phases.items():
        if phase.batch_size % parts:
            yield (
                f"`{name}.batch_size` is {phase.batch_size}, which {parts} parts (train.world_size times "
                "train.gradient_accumulation) do not divide; it is the batch of an optimizer step"
            )


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{key}.{index}")
    else:
        yield key, value


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
