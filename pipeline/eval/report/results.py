"""Numbers of the trained runs: what the report's tables and sentences are made of."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pipeline.artifacts import Layout, read_json
from pipeline.config import Config, Run
from pipeline.config.plans import learns_from_web, replays
from pipeline.datasets.protocol_file import Protocol, read_protocol
from pipeline.methods import get
from pipeline.methods.recipes import base_recipes

Row = dict[str, Any]
UNCHECKED = (
    "Nothing was measured against a truth: masks are what the given model sees in held-out images, so that old figures "
    "say how far the taught model departs from it, and new classes have none."
)
"""What the page says first of a model that was taught without `--check`."""
UNMEASURED = "Nothing was measured: there was no image to compare the given and the taught model on."
"""And without `--like`."""


@dataclass(frozen=True)
class Results:
    """Everything measured in an experiment, by run, seed and step."""

    config: Config
    steps: int
    rows: list[Row]

    @cached_property
    def paths(self) -> Layout:
        """Where the artifacts are."""
        return Layout.of(self.config)

    @cached_property
    def recipes(self) -> dict[str, str]:
        """The base recipe of every run, by name."""
        return base_recipes(self.config)

    @property
    def uses_web(self) -> bool:
        """Whether any run trains on web images."""
        return learns_from_web(self.config) or replays(self.config)

    @property
    def base_runs(self) -> list[Run]:
        """One chosen run of every base recipe, in the order of the runs: their step 0 is that recipe's model."""
        found: dict[str, Run] = {}
        for run in self.config.experiment.chosen:
            found.setdefault(self.recipes[run.name], run)
        return list(found.values())

    def base_name(self, run: Run) -> str:
        """Return how the base model of a run is called: by its recipe, if there are several."""
        return f"base model ({self.recipes[run.name]})" if len(self.base_runs) > 1 else "base model"

    @property
    def unseen(self) -> list[str]:
        """Names of the classes that no validation mask shows: they are in no mean."""
        tables = [self.iou(run, self.steps) for run in self.config.experiment.chosen]
        return [name for name in tables[0] if all(table[name] is None for table in tables)] if tables else []

    def file(self, run: Run, seed: int, step: int, name: str) -> str:
        """Return a file of a run's step; step 0 is its shared base."""
        if step == 0:
            return self.paths.base(self.recipes[run.name], seed, name)
        return self.paths.step(run.name, seed, step, name)

    def values(self, run: Run, step: int, key: str) -> list[float]:
        """Return a score over seeds, missing ones left out: a column of the summary, or `first` or `last`."""
        if key in ("first", "last"):
            found = [read_json(self.file(run, seed, step, "eval.json"))[key] for seed in self.config.experiment.seeds]
            return [value for value in found if value is not None]
        return [
            row[key]
            for row in self.rows
            if (row["method"], row["variant"], row["step"]) == (run.method, run.variant, step) and row[key] is not None
        ]

    def mean(self, run: Run, step: int, key: str) -> float | None:
        """Return the mean of a score over seeds."""
        values = self.values(run, step, key)
        return statistics.mean(values) if values else None

    def cell(self, run: Run, step: int, key: str) -> str:
        """Return a score as text: mean, and spread if there are several seeds."""
        values = self.values(run, step, key)
        if not values:
            return "–"
        spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
        return f"{statistics.mean(values):.1f}{spread}"

    def iou(self, run: Run, step: int) -> dict[str, float | None]:
        """Return IoU per class, mean over seeds."""
        tables = [read_json(self.file(run, seed, step, "eval.json"))["iou"] for seed in self.config.experiment.seeds]
        return {name: _mean([table[name] for table in tables]) for name in tables[0]}

    def protocol(self, step: int) -> Protocol:
        """Return the protocol of a step."""
        return read_protocol(self.paths.protocol(step))


def label(run: Run) -> str:
    """Return how a run is called on the page."""
    base = get(run.method).title or run.method
    if run.memory:
        base += "-M"
    if run.variant:
        return f"{base}, {run.variant.replace('_', ' ')}"
    if run.method == "wilson" and run.new_images == "web":
        return f"{base}, {'unfiltered' if run.filters == 'none' else run.filters} web"
    return base


def story(results: Results, web: Row | None) -> list[str]:
    """Return the findings as sentences, each made of measured numbers."""
    last = results.steps
    teach = results.config.teach if results.config.datasets.name == "taught" else None
    sentences = [UNCHECKED if teach.like else UNMEASURED] if teach and not teach.check else []
    for run in results.config.experiment.chosen:
        base, old, every = (results.mean(run, s, k) for s, k in ((0, "old"), (last, "old"), (last, "all")))
        if base is None or old is None or every is None:
            continue
        kept = 100 * old / base if base else 0.0
        new = results.mean(run, last, "new")
        reached = (
            "the new classes stand in no mask, reaches" if new is None else f"reaches {new:.1f} on the new classes and"
        )
        sentences.append(
            f"{label(run)} keeps {kept:.0f} % of the base model's old mIoU ({base:.1f} to {old:.1f}), "
            f"{reached} {every:.1f} over all."
        )
    if web and web["quality"]:
        first, both = web["quality"][0], web["quality"][-1]
        sentences.append(
            f"Of the candidates {first['right']:.0f} % show the queried class, {first['in_domain']:.0f} % are in the "
            f"data set's style; of the images kept by both filters {both['right']:.0f} % and {both['in_domain']:.0f} %."
        )
    return sentences


def forgetting_rows(results: Results) -> list[Row]:
    """Return per run the classes that lost most, in points."""
    rows = []
    for run in results.config.experiment.chosen:
        tables = [
            read_json(results.file(run, seed, results.steps, "eval.json"))["forgetting"]
            for seed in results.config.experiment.seeds
        ]
        lost = {name: _mean([table.get(name) for table in tables]) for name in tables[0] if name != "background"}
        known = {name: value for name, value in lost.items() if value is not None}
        worst = sorted(known.items(), key=lambda item: -item[1])[:4]
        mean = statistics.mean(known.values()) if known else 0.0
        rows.append({"name": label(run), "mean": mean, "worst": worst})
    return rows


def costs(results: Results) -> list[Row]:
    """Return the cost of every trained step."""
    rows: list[Row] = []
    seen = set()
    for run in results.config.experiment.chosen:
        for seed in results.config.experiment.seeds:
            for step in range(results.steps + 1):
                path = results.file(run, seed, step, "cost.json")
                if path in seen:
                    continue
                seen.add(path)
                name = f"base ({results.recipes[run.name]})" if step == 0 else label(run)
                rows.append({"name": name, "seed": seed, "step": step, **read_json(path)})
    return sorted(rows, key=lambda row: (row["step"], row["name"], row["seed"]))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return statistics.mean(known) if known else None
