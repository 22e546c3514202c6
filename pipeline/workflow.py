"""What the Snakefile asks: settings per rule, declared code versions, shards, and inputs of a run."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from typing import Any

from pipeline.artifacts import Layout
from pipeline.config import Config, ConfigError, Run, parse_config, settings_json
from pipeline.datasets.tasks import classes_per_step
from pipeline.train.methods import get, settings_of

ISOLATED_ENVIRONMENT = ".venv-openflamingo3b"
"""Virtual environment of a captioner whose library versions exclude ours."""


class Workflow:
    """The experiment as a graph of files. Raises ConfigError for anything inconsistent at parse time."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.config: Config = parse_config(raw)
        self.paths = Layout.of(self.config)
        self.runs = {run.name: run for run in self.config.experiment.runs}
        self.last_step = len(classes_per_step(self.config.datasets.name, self.config.datasets.task)) - 1
        self._check()

    def _check(self) -> None:
        for name in self.config.methods:
            settings_of(name, self.config.methods[name])
        for run in self.runs.values():
            settings_of(run.method, {**self.config.methods.get(run.method, {}), **run.settings})
            supervision = get(run.method).supervision
            if run.new_images == "web" and supervision == "pixel":
                raise ConfigError(
                    f"run `{run.name}`: new_images is `web`, but method `{run.method}` needs pixel masks; "
                    "use `dataset`, or a method that learns from image labels"
                )

    # Parameters of rules: a change in either reruns the rule and what follows.

    def settings(self, *sections: str) -> str:
        """Return the named sections as JSON for `--settings`."""
        return settings_json(self.config, *sections)

    def version(self, stage: str) -> int:
        """Return the declared code version of a stage package (its STAGE_VERSION)."""
        return int(importlib.import_module(f"pipeline.{stage}").STAGE_VERSION)

    def run_settings(self, run: str) -> str:
        """Return the training settings of a run: engine, data geometry and this method's settings alone."""
        chosen = self.runs[run]
        merged = {**self.config.methods.get(chosen.method, {}), **chosen.settings}
        known = json.loads(self.settings("train", "datasets"))
        del known["train"]["base"]
        known["methods"] = {chosen.method: merged}
        return json.dumps(known, sort_keys=True, separators=(",", ":"))

    # The graph.

    @property
    def mini_web(self) -> bool:
        """Whether the crawl goes to the embedded site."""
        return "miniweb.test" in self.config.crawl_ingest.api

    def site(self) -> list[str]:
        """Return the site's index as an input of ingestion, if the crawl goes there."""
        return [f"{self.paths.site()}/index.json"] if self.mini_web else []

    def around_crawl(self) -> str:
        """Return the command that a crawl runs under: the site's server for the mini web, nothing else."""
        return f"python -m pipeline.miniweb serve --root {self.paths.site()} --" if self.mini_web else ""

    def plan_step(self, plan: str) -> int:
        """Return the step whose protocol a plan asks for: `step<k>` its own, `base` and `replay<k>` step 0's."""
        return int(plan.removeprefix("step")) if plan.startswith("step") else 0

    def shards(self, plan: str) -> list[str]:
        """Return the names of a plan's shards."""
        return [f"{plan}-{number:05d}" for number in range(self.config.crawl_ingest.shards)]

    @property
    def captioner_environment(self) -> list[str]:
        """Return the marker of the isolated environment, if the captioner runs there."""
        captioner = self.config.captioning.captioner
        isolated = captioner.kind == "openflamingo" and captioner.openflamingo.environment == "isolated"
        return [f"{ISOLATED_ENVIRONMENT}/.ready"] if isolated else []

    @property
    def captioner_python(self) -> str:
        """Return the interpreter that captions."""
        return f"{ISOLATED_ENVIRONMENT}/bin/python" if self.captioner_environment else "python"

    def vocabulary(self) -> list[str]:
        """Return the user's file of class words, if the configuration names one."""
        return [self.config.captioning.vocabulary] if self.config.captioning.vocabulary else []

    def run(self, name: str) -> Run:
        """Return a run by its folder name."""
        return self.runs[name]

    def recipe(self, run: str) -> str:
        """Return the base recipe of a run's method."""
        return get(self.runs[run].method).recipe

    def recipes(self) -> list[str]:
        """Return the base recipes that the experiment needs."""
        return sorted({self.recipe(run) for run in self.runs})

    def previous(self, run: str, seed: str, step: str, name: str) -> str:
        """Return a file of the step before: the shared base for step 1, else the run's own."""
        if int(step) == 1:
            return self.paths.base(self.recipe(run), seed, name)
        return self.paths.step(run, seed, int(step) - 1, name)

    def plan_captions(self, plan: str) -> list[str]:
        """Return the caption table that a plan's queries come from: none for class-name queries."""
        return [self.paths.captions("dataset")] if plan.startswith("replay") else []

    def plan_options(self, plan: str) -> str:
        """Return the option naming `plan_captions`."""
        return " ".join(f"--captions {path}" for path in self.plan_captions(plan))

    def list_inputs(self, run: str, seed: str, step: str) -> dict[str, str]:
        """Return the inputs of a run's training list, by option name."""
        chosen = self.runs[run]
        inputs = {"protocol": self.paths.protocol(step)}
        if chosen.new_images == "web":
            inputs["selection"] = self.paths.selection(step, "new_classes")
        if chosen.replay:
            inputs["pseudolabels"] = self.paths.step(run, seed, step, "pseudolabels.parquet")
        return inputs

    def list_options(self, run: str, seed: str, step: str) -> str:
        """Return the command-line options of a run's training list."""
        options = [f"--{name} {path}" for name, path in self.list_inputs(run, seed, step).items()]
        if self.runs[run].new_images == "web":
            options.append(f"--filters {self.runs[run].filters}")
        return " ".join(options)

    def base_settings(self) -> str:
        """Return the training settings of base steps."""
        known = json.loads(self.settings("train", "datasets"))
        del known["train"]["step"]
        return json.dumps(known, sort_keys=True, separators=(",", ":"))

    def report_inputs(self) -> list[str]:
        """Return everything the report reads."""
        evals = [f"{folder}/{name}" for folder in self.folders() for name in ("eval.json", "log.csv", "cost.json")]
        if not any(run.new_images == "web" or run.replay for run in self.runs.values()):
            return evals
        steps = range(1, self.last_step + 1)
        tables = [self.paths.fourier("metrics.json"), self.paths.manifest("base")]
        # Similarities and rules are compared where the report knows the truth.
        compared = ("noun_comparison",) if self.mini_web else ()
        for step in steps:
            names = ("noun_filter", "fourier", "new_classes", *compared)
            tables += [self.paths.selection(step, name) for name in names]
            tables.append(self.paths.manifest(f"step{step}"))
            if any(run.replay for run in self.runs.values()):
                names = ("noun_filter_replay", "replay", *(f"{name}_replay" for name in compared))
                tables += [self.paths.selection(step, name) for name in names]
                tables.append(self.paths.manifest(f"replay{step}"))
        return evals + tables

    def folders(self) -> list[str]:
        """Return the folder of every trained step, base steps first."""
        seeds = self.config.experiment.seeds
        base = [self.paths.base(recipe, seed, "") for recipe in self.recipes() for seed in seeds]
        steps = [
            self.paths.step(run, seed, step, "")
            for run in self.runs
            for seed in seeds
            for step in range(1, self.last_step + 1)
        ]
        return [folder.rstrip("/") for folder in base + steps]
