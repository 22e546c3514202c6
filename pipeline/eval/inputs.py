"""Which files the report reads, so that the workflow and a partly finished experiment ask the same of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.artifacts import Layout
from pipeline.config import Config, Run
from pipeline.config.plans import has_images, learns_from_web, mini_web, plans, replay_tables, replays
from pipeline.methods.recipes import base_recipes

_PER_STEP = ("eval.json", "log.csv", "cost.json")


def report_inputs(config: Config, last_step: int) -> list[str]:
    """Return everything the report reads of the chosen runs."""
    paths = Layout.of(config)
    # Similarities and rules are compared where the report knows the truth.
    compared = ["noun_comparison"] if mini_web(config) and has_images(config) else []
    files = [f"{folder}/{name}" for folder in step_folders(config, last_step) for name in _PER_STEP]
    names: list[str] = []
    if learns_from_web(config):
        names += ["noun_filter", "fourier", "new_classes", *compared]
        files += [paths.fourier("metrics.json")] * has_images(config)
    if replays(config):
        names += ["noun_filter_replay", *replay_tables(config), *(f"{name}_replay" for name in compared)]
    tables = [paths.selection(step, name) for step in range(1, last_step + 1) for name in names]
    return files + [paths.manifest(plan) for plan in plans(config, last_step)] + tables


def step_folders(config: Config, last_step: int) -> list[str]:
    """Return the folder of every trained step of the chosen runs, base steps first."""
    paths, recipes, runs = Layout.of(config), base_recipes(config), config.experiment.chosen
    seeds = config.experiment.seeds
    base = [paths.base(recipe, seed, "") for recipe in sorted({recipes[run.name] for run in runs}) for seed in seeds]
    steps = [paths.step(run.name, seed, step, "") for run in runs for seed in seeds for step in range(1, last_step + 1)]
    return [folder.rstrip("/") for folder in base + steps]


def with_finished(config: Config, last_step: int) -> Config:
    """Return the experiment with every run chosen whose results are all there, besides those that are chosen by name.

    An experiment that makes all its runs is returned as it is: there a missing result is an error.
    """
    if not config.experiment.only:
        return config
    named = set(config.experiment.only)
    found = [run.name for run in config.experiment.runs if run.name in named or finished(config, run, last_step)]
    return choose(config, found)


def finished(config: Config, run: Run, last_step: int) -> bool:
    """Return whether everything that the report reads of one run is there."""
    return all(Path(path).exists() for path in report_inputs(choose(config, [run.name]), last_step))


def evaluated(config: Config, run: Run, last_step: int) -> bool:
    """Return whether every step of one run has its scores, on all seeds."""
    folders = step_folders(choose(config, [run.name]), last_step)
    return all((Path(folder) / "eval.json").exists() for folder in folders)


def choose(config: Config, only: Sequence[str]) -> Config:
    """Return the experiment with these runs chosen."""
    return config.model_copy(update={"experiment": config.experiment.model_copy(update={"only": tuple(only)})})
