"""What the Snakefile asks: settings per rule, declared code versions, shards, and inputs of a run."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Mapping
from shlex import join, quote
from typing import Any

from pipeline.artifacts import Layout
from pipeline.config import Config, ConfigError, Run, nearest, parse_config, read_yaml, settings_json
from pipeline.config.plans import has_images, mini_web, plans
from pipeline.datasets.readers.registry import open_dataset
from pipeline.datasets.readers.taught import SEEN
from pipeline.datasets.tasks import canonical_task, classes_per_step
from pipeline.eval.inputs import report_inputs, step_folders
from pipeline.methods import Heads, get, settings_of
from pipeline.methods.recipes import base_recipes, get_recipe, recipe_settings
from pipeline.models import check_backbone
from pipeline.runtime.shipped import PACKAGE, shipped

ISOLATED_ENVIRONMENT = ".venv-openflamingo3b"
"""Virtual environment of a captioner whose library versions exclude ours."""

CACHE = "SNAKEMAKE_OUTPUT_CACHE"
"""Environment variable that names the folder of Snakemake's cache between workflows."""
_PLAN_KEYS = {"base": ("base_per_class",), "step": ("per_class",), "replay": ("replay_queries", "per_caption")}
"""Settings of `crawl_ingest` that say how much one kind of plan asks for."""


class Workflow:
    """The experiment as a graph of files. Raises ConfigError for anything inconsistent at parse time."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.config: Config = parse_config(raw)
        self.companion = self._companion()
        self.paths = Layout.of(self.config)
        self.runs = {run.name: run for run in self.config.experiment.runs}
        self.last_step = len(classes_per_step(self.config.datasets.key, self.config.datasets.task)) - 1
        self._check()
        self._recipes = base_recipes(self.config)
        self._crawl_settings: dict[tuple[str, tuple[str, ...]], str] = {}

    def _companion(self) -> dict[str, Any]:
        """Return the raw configuration of the companion experiment, {} if there is none."""
        path = self.config.experiment.companion
        # One row of this experiment is no order for all rows of another.
        if not path or self.config.experiment.only:
            return {}
        raw = read_yaml(shipped("config.yaml"), path)
        other = parse_config(raw)
        if (name := other.experiment.name) == self.config.experiment.name:
            raise ConfigError(f"config: `experiment.companion`: {path} has this experiment's own name `{name}`")
        if (pool := other.crawl_ingest.pool) == self.config.crawl_ingest.pool:
            raise ConfigError(
                f"config: `experiment.companion`: {path} has crawl_ingest.pool `{pool}`, as this experiment; "
                "both would write its files, give it its own"
            )
        return raw

    def _check(self) -> None:
        self._check_backbone()
        self._check_thresholds()
        # A command is handed a part of the section, so that only the workflow can ask for this.
        crawl = self.config.crawl_ingest
        if crawl.source in ("url_list", "folder", "authors") and not crawl.path:
            raise ConfigError(
                f"config: `crawl_ingest.source` is `{crawl.source}`, so crawl_ingest.path must name its list or folder"
            )
        for name in self.config.methods:
            self._settings_of(name, self.config.methods[name])
        for name, values in self.config.train.recipes.items():
            recipe_settings(name, values)
        for run in self.runs.values():
            self.method_settings(run)
            if run.replay and get(run.method).heads(self.method_settings(run), (2, 1)) != Heads((2, 1)):
                raise ConfigError(
                    f"run `{run.name}`: replay images are labelled by the previous model's best class, which "
                    f"method `{run.method}` does not decode that way; use `memory`, or another method"
                )
            supervision = get(run.method).supervision
            if run.new_images == "web" and supervision == "pixel":
                raise ConfigError(
                    f"run `{run.name}`: new_images is `web`, but method `{run.method}` needs pixel masks; "
                    "use `dataset`, or a method that learns from image labels"
                )

    def _check_backbone(self) -> None:
        try:
            check_backbone(self.config.train.backbone)
        except ValueError as error:
            raise ConfigError(f"config: `train.backbone`: {error}") from None

    def _check_thresholds(self) -> None:
        thresholds = self.config.captioning.noun_filter.thresholds
        if not thresholds:
            return
        known = set(open_dataset(self.config.datasets.name, self.config.datasets.root).class_names().values())
        for name in sorted(set(thresholds) - known) if known else ():
            raise ConfigError(
                f"config: `captioning.noun_filter.thresholds` names `{name}`, no class of {self.config.datasets.name}; "
                f"{nearest(name, known)}"
            )

    def method_settings(self, run: Run) -> Any:
        """Return the settings of a run's method."""
        return self._settings_of(run.method, self.config.method_values(run))

    def _settings_of(self, method: str, values: Mapping[str, Any]) -> Any:
        data = self.config.datasets
        return settings_of(method, values, data.key, canonical_task(data.key, data.task), self.config.train.backbone)

    # Parameters of rules: a change in either reruns the rule and what follows.

    def settings(self, *sections: str) -> str:
        """Return the named sections as JSON for `--settings`."""
        return settings_json(self.config, *sections)

    def drawing_settings(self) -> str:
        """Return what the drawn data set depends on."""
        keys = ("name", "root", "minivoc_seed", "minivoc_train", "minivoc_val")
        return self.settings(*(f"datasets.{key}" for key in keys))

    def protocol_settings(self) -> str:
        """Return what a protocol depends on; the size of a crop is not part of it."""
        return self.settings(*(f"datasets.{key}" for key in ("name", "root", "task", "setting", "lists")))

    def teach_settings(self) -> str:
        """Return what the look at the user's images depends on; how much may be forgotten is no part of it."""
        keys = ("model", "like", "check", "held_out")
        return self.settings("datasets.root", "pseudolabel.max_side", *(f"teach.{key}" for key in keys))

    def crawl_settings(self, plan: str, *keys: str) -> str:
        """Return what a plan's crawl depends on, or of it `keys` alone: how many other plans ask is no part of it."""
        kind = plan.rstrip("0123456789")
        # Asked for every shard of a graph that may have fifty thousand.
        if (kind, keys) not in self._crawl_settings:
            crawl = self.config.crawl_ingest.model_dump(mode="json")
            others = {key for other in _PLAN_KEYS if other != kind for key in _PLAN_KEYS[other]}
            known = {key: value for key, value in crawl.items() if key not in others and (not keys or key in keys)}
            text = json.dumps({"crawl_ingest": known}, sort_keys=True, separators=(",", ":"))
            self._crawl_settings[kind, keys] = text
        return self._crawl_settings[kind, keys]

    @property
    def protocol_inputs(self) -> list[str]:
        """Return the files that say which classes and images the user's own data has, none for known data sets."""
        root = self.config.datasets.root
        seen = [f"{root}/{SEEN}"] if self.taught else []
        return [f"{root}/classes.txt", f"{root}/tasks.yaml", *seen] if self.config.datasets.in_a_folder else []

    @property
    def taught(self) -> bool:
        """Whether step 0 is a given model and not trained (`webseg teach`)."""
        return self.config.datasets.name == "taught"

    @property
    def has_images(self) -> bool:
        """Whether there are images of the data set: a model may be taught without any."""
        return has_images(self.config)

    @property
    def taught_from(self) -> list[str]:
        """Return the given model and the user's folders that it is shown, as inputs."""
        teach = self.config.teach
        return [path for path in (teach.model, teach.like, teach.check) if path]

    @property
    def cached(self) -> bool:
        """Whether costly rules may take their results from the cache between workflows, if one is set up.

        Own data is known by its class list alone, so that two folders of images could be taken for each other.
        """
        return CACHE in os.environ and not self.config.datasets.in_a_folder

    def version(self, stage: str) -> int:
        """Return the declared code version of a stage package (its STAGE_VERSION)."""
        return int(importlib.import_module(f"pipeline.{stage}").STAGE_VERSION)

    def run_settings(self, run: str) -> str:
        """Return the training settings of a run: engine, data geometry and this method's settings alone."""
        chosen = self.runs[run]
        known = self._training_settings()
        del known["train"]["base"], known["train"]["recipes"]
        known["train"]["step"] = chosen.step_phase(self.config.train.step).model_dump(mode="json")
        known["methods"] = {chosen.method: self.config.method_values(chosen)}
        return json.dumps(known, sort_keys=True, separators=(",", ":"))

    def replay_settings(self, table: str) -> str:
        """Return the settings of a selection of replay images, `replay` or `replay_<budget>`."""
        known = json.loads(self.settings("pseudolabel"))
        if budget := table.removeprefix("replay").removeprefix("_"):
            known["pseudolabel"]["replay_budget"] = int(budget)
        return json.dumps(known, sort_keys=True, separators=(",", ":"))

    def base_eval_settings(self) -> str:
        """Return the settings of evaluation; the rule that chose the weights where it is not the usual one."""
        chosen = ("train.keep",) if self.config.train.keep == "best" else ()
        return self.settings("eval", "datasets", *chosen)

    def eval_settings(self, run: str) -> str:
        """Return the settings of evaluation, with this method's, which may say how logits are decoded."""
        chosen = self.runs[run]
        known = json.loads(self.base_eval_settings())
        if values := self.config.method_values(chosen):
            known["methods"] = {chosen.method: values}
        return json.dumps(known, sort_keys=True, separators=(",", ":"))

    # The graph.

    @property
    def mini_web(self) -> bool:
        """Whether the crawl goes to the embedded site."""
        return mini_web(self.config)

    def site(self) -> list[str]:
        """Return the site's index as an input of ingestion, if the crawl goes there."""
        return [f"{self.paths.site()}/index.json"] if self.mini_web else []

    def around_crawl(self) -> str:
        """Return the command that a crawl runs under: the site's server for the mini web, nothing else."""
        return f"python -m pipeline.miniweb serve --root {quote(self.paths.site())} --" if self.mini_web else ""

    def plan_step(self, plan: str) -> int:
        """Return the step whose protocol a plan asks for: `step<k>` its own, `base` and `replay<k>` step 0's."""
        return int(plan.removeprefix("step")) if plan.startswith("step") else 0

    def shards(self, plan: str) -> list[str]:
        """Return the names of a plan's shards."""
        return [f"{plan}-{number:05d}" for number in range(self.config.crawl_ingest.shards)]

    def shard_files(self, path: str) -> str:
        """Return the files of a plan's shards as one pattern that bash spells out; `path` is that of shard `{}`.

        Listed one by one, thousands of shards exceed the length of a command (128 KiB on Linux).
        """
        before, after = path.split("{}")
        numbers = f"{{00000..{self.config.crawl_ingest.shards - 1:05d}}}"
        return f"{quote(before)}{numbers}{quote(after)}"

    @property
    def captioner_environment(self) -> list[str]:
        """Return the marker of the isolated environment, if the captioner runs there."""
        captioner = self.config.captioning.captioner
        isolated = captioner.kind == "openflamingo" and captioner.openflamingo.environment == "isolated"
        return [f"{ISOLATED_ENVIRONMENT}/.ready"] if isolated else []

    @property
    def isolated_lock(self) -> str:
        """Return the lock of the isolated environment, as seen from the current folder."""
        return os.path.relpath(shipped("envs/openflamingo3b.lock.txt"))

    @property
    def package(self) -> str:
        """Return the folder of this package, which the isolated environment imports too."""
        return str(PACKAGE)

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
        return self._recipes[run]

    def saliency(self, run: str = "", recipe: str = "") -> list[str]:
        """Return the index of the saliency maps if a run or a base recipe trains with them."""
        cls = get(self.runs[run].method) if run else get_recipe(recipe)
        settings = self.method_settings(self.runs[run]) if run else None
        wanted = cls.wants_saliency(settings, self.config.datasets.name)
        return [self.paths.saliency("index.parquet")] if wanted else []

    def recipes(self) -> list[str]:
        """Return the base recipes that the experiment needs."""
        return sorted(set(self._recipes.values()))

    def previous(self, run: str, seed: str, step: str, name: str) -> str:
        """Return a file of the step before: the shared base for step 1, else the run's own."""
        if int(step) == 1:
            return self.paths.base(self.recipe(run), seed, name)
        return self.paths.step(run, seed, int(step) - 1, name)

    def plan_captions(self, plan: str) -> list[str]:
        """Return the caption table that a plan's queries come from: none for class-name queries."""
        return [self.paths.captions("dataset")] if plan.startswith("replay") and self.has_images else []

    def list_inputs(self, run: str, seed: str, step: str) -> dict[str, list[str]]:
        """Return the inputs of a run's training list, by option name."""
        chosen = self.runs[run]
        inputs = {"protocol": [self.paths.protocol(step)]}
        if get(chosen.method).sees == "all":
            inputs["earlier"] = [self.paths.protocol(earlier) for earlier in range(int(step))]
        if chosen.memory:
            inputs["previous"] = [self.previous(run, seed, step, "train_list.parquet")]
        if chosen.new_images == "web":
            inputs["selection"] = [self.paths.selection(step, "new_classes")]
        if chosen.replay:
            inputs["pseudolabels"] = [self.paths.step(run, seed, step, "pseudolabels.parquet")]
        return inputs

    def list_options(self, run: str, seed: str, step: str) -> str:
        """Return the command-line options of a run's training list."""
        options = [f"--{name} {join(files)}" for name, files in self.list_inputs(run, seed, step).items()]
        if self.runs[run].memory:
            options.append(f"--memory {self.runs[run].memory}")
        if self.runs[run].new_images == "web":
            options.append(f"--filters {self.runs[run].filters}")
        return " ".join(options)

    def base_settings(self) -> str:
        """Return the training settings of base steps."""
        known = self._training_settings()
        del known["train"]["step"], known["train"]["replay_epoch"]
        return json.dumps(known, sort_keys=True, separators=(",", ":"))

    def _training_settings(self) -> dict[str, Any]:
        # In how many processes a step is trained changes its result by rounding alone: no reason to train it again.
        known: dict[str, Any] = json.loads(self.settings("train", "datasets"))
        known["train"].pop("world_size", None)
        return known

    def training_threads(self) -> int:
        """Return the threads of a training job, all its processes together."""
        return self.config.train.world_size * self.config.train.threads

    def report_inputs(self) -> list[str]:
        """Return everything the report reads."""
        own = report_inputs(self.config, self.last_step)
        return [*own, *([self.companion_paths().report()] if self.companion else [])]

    def companion_paths(self) -> Layout:
        """Return where the companion experiment's results are."""
        return Layout.of(parse_config(self.companion))

    def report_settings(self) -> str:
        """Return what the report depends on; papers' rows only where there are some."""
        crawl = ("crawl_ingest.pool", "crawl_ingest.source", "crawl_ingest.api")
        sections = ("experiment", "datasets", *crawl, "captioning.captioner.name", "fourier_filter")
        papers = ("published",) if self.config.published else ()
        return self.settings(*sections, "train.backbone", *papers)

    def manifests(self) -> list[str]:
        """Return the manifests of the experiment's plans, empty if nothing comes from the web."""
        return [self.paths.manifest(plan) for plan in plans(self.config, self.last_step)]

    def cards(self) -> list[str]:
        """Return the card of the web pool, if there is one."""
        return [self.paths.card()] if self.manifests() else []

    def folders(self) -> list[str]:
        """Return the folder of every trained step of the chosen runs, base steps first."""
        return step_folders(self.config, self.last_step)
