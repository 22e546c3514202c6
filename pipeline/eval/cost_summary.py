"""What the jobs of an experiment cost together, by kind of job: `webseg cost --config config.yaml`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.artifacts import ArtifactError, Layout, read_json
from pipeline.config import Config
from pipeline.config.plans import plans
from pipeline.datasets.tasks import classes_per_step
from pipeline.runtime.cli import add_settings, read_settings, run_cli, stage_parser


@dataclass
class Line:
    """What the jobs of one kind cost. Hours of a GPU are hours of wall time of jobs that used one."""

    job: str
    jobs: int = 0
    wall_hours: float = 0.0
    cpu_hours: float = 0.0
    gpu_hours: float = 0.0
    peak_memory_mb: float = 0.0
    gpu_peak_memory_mb: float = 0.0
    items: int = 0
    unit: str = ""

    @property
    def items_per_second(self) -> float:
        """Items per second of wall time of one job, start-up included."""
        return self.items / max(3600 * self.wall_hours, 1e-9)

    def add(self, cost: dict[str, Any]) -> None:
        """Add one job."""
        gpu = cost.get("gpu") or {}
        self.jobs += 1
        self.wall_hours += cost["wall_seconds"] / 3600
        self.cpu_hours += cost["cpu_seconds"] / 3600
        self.gpu_hours += cost["wall_seconds"] / 3600 if gpu else 0.0
        self.peak_memory_mb = max(self.peak_memory_mb, cost["peak_memory_mb"])
        self.gpu_peak_memory_mb = max(self.gpu_peak_memory_mb, gpu.get("peak_memory_mb", 0.0))
        self.items += cost["items"]
        self.unit = cost["unit"]


def summarise_costs(config: Config) -> list[Line]:
    """Return a line per kind of job of an experiment, the longest first, then their sum (named `all`).

    Counted is the job that made an artifact of a chosen run, or of the plans it asks a pool for, once; attempts that
    failed are not, except that training adds up what it did before it was interrupted. What is shared (site, data
    set, a plan of the pool) is counted in full. Raises ArtifactError if nothing was recorded, or a record is damaged.
    """
    lines: dict[str, Line] = {}
    total = Line("all")
    for path in _records(config):
        cost = read_json(path)
        name = cost.get("job", "train")
        try:
            for line in (lines.setdefault(name, Line(name)), total):
                line.add(cost)
        except (KeyError, TypeError) as error:
            raise ArtifactError(f"{path} is no cost of a job ({error!r}); delete it and rerun its stage") from None
    if not lines:
        raise ArtifactError(f"no job of experiment `{config.experiment.name}` has recorded its cost; run it first")
    total.items, total.unit = total.jobs, "jobs"
    return [*sorted(lines.values(), key=lambda line: -line.wall_hours), total]


def print_costs(config: Config, as_json: bool = False) -> None:
    """Print the costs to stdout."""
    lines = summarise_costs(config)
    if as_json:
        print(json.dumps([{**asdict(line), "items_per_second": line.items_per_second} for line in lines], indent=1))
        return
    print(f"{'job':24s}{'jobs':>6s}{'wall':>11s}{'CPU':>11s}{'GPU':>11s}{'peak MB':>9s}{'items':>9s}  per second")
    for line in lines:
        hours = "".join(f"{_duration(value):>11s}" for value in (line.wall_hours, line.cpu_hours, line.gpu_hours))
        rate = f"{line.items_per_second:8.1f} {line.unit}" if line.job != "all" else ""
        print(f"{line.job:24s}{line.jobs:6d}{hours}{line.peak_memory_mb:9.0f}{line.items:9d}  {rate}".rstrip())


def _records(config: Config) -> Iterator[Path]:
    layout, last = Layout.of(config), len(classes_per_step(config.datasets.key, config.datasets.task)) - 1
    for path in _found(Path(layout.results)):
        if _is_ours(path.relative_to(layout.results).parts, config, last):
            yield path
    asked = plans(config, last)
    for path in _found(Path(layout.web())):
        if _is_asked(path.relative_to(layout.web()).parts, asked, layout.captioner, last):
            yield path
    if asked:
        yield from _found(Path(layout.site()))
    # A data set's images are no place to look for records.
    for folder in (Path(layout.dataset_root), Path(layout.saliency(""))):
        yield from sorted(folder.glob("*.cost.json"))


def _found(folder: Path) -> list[Path]:
    paths = folder.rglob("*cost.json")
    return sorted(path for path in paths if path.name == "cost.json" or path.name.endswith(".cost.json"))


def _is_ours(parts: Sequence[str], config: Config, last_step: int) -> bool:
    """Return whether a record below the results is of a chosen run, or of what runs share."""
    seeds = {f"seed{seed}" for seed in config.experiment.seeds}
    if parts[0] in ("protocol", "fourier", "selection", "report") or len(parts) < 3:
        return True
    if parts[0] == "base":
        return parts[2] in seeds and parts[1] in _recipes(config)
    runs = {run.name for run in config.experiment.chosen}
    return parts[0] in runs and parts[1] in seeds and parts[2] in {f"step{k}" for k in range(1, last_step + 1)}


def _recipes(config: Config) -> set[str]:
    from pipeline.methods.recipes import base_recipes

    recipes = base_recipes(config)
    return {recipes[run.name] for run in config.experiment.chosen}


def _is_asked(parts: Sequence[str], asked: Sequence[str], captioner: str, last_step: int) -> bool:
    """Return whether a record of a pool is of a plan that the experiment asks for, by its own captioner."""
    name = parts[-1].removesuffix(".cost.json")
    if not asked or (parts[0] in ("captions", "nouns") and parts[1] != captioner):
        return False
    if parts[0] == "protocol":
        return name in {f"step{step}" for step in range(last_step + 1)}
    return len(parts) == 1 or name == "dataset" or name.partition("-")[0] in asked


def _duration(hours: float) -> str:
    return f"{hours:.2f} h" if hours >= 1 else f"{3600 * hours:.1f} s"


def main(argv: list[str] | None = None) -> int:
    """Print what an experiment cost an experiment; return the exit code."""
    parser = stage_parser("pipeline.eval.cost_summary", __doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=lambda arguments: print_costs(read_settings(arguments), arguments.json), records_cost=False)
    add_settings(parser)
    return run_cli(parser, argv)


if __name__ == "__main__":
    raise SystemExit(main())
