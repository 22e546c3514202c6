"""What every `python -m pipeline.<stage>` shares: settings options and one-line errors."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence

from pipeline.config import Config, load_config
from pipeline.runtime.called import name_of
from pipeline.runtime.cost import Cost, cost_file, write_cost
from pipeline.runtime.progress import processed

OUTPUTS = ("out", "out_model", "out_selection", "root")
"""Names of the option that says what a command makes."""


def stage_parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """Return the parser of `python -m <module>`, or of the name under which the module was called."""
    parser = argparse.ArgumentParser(prog=name_of(module), description=description)
    parser.set_defaults(stage=module.rpartition(".")[2])
    return parser


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add `--config` and `--settings` to a (sub)parser."""
    parser.add_argument(
        "--config",
        action="append",
        default=[],
        metavar="FILE",
        help="YAML of settings; repeat to layer files",
    )
    parser.add_argument("--settings", metavar="JSON", help="sections laid over the files, as JSON")


def read_settings(arguments: argparse.Namespace) -> Config:
    """Return the configuration named by `--config` and `--settings`. Raises ConfigError."""
    return load_config(arguments.config, arguments.settings)


def run_cli(parser: argparse.ArgumentParser, argv: Sequence[str] | None = None) -> int:
    """Parse, call the sub-command's `run(arguments)`, and turn a ValueError into one line and exit code 2.

    Every sub-parser sets its function by `set_defaults(run=...)`. What the command cost is written beside its first
    output, unless `set_defaults(records_cost=False)`: for a command that keeps its own record or makes nothing of an
    experiment, and for a folder in somebody else's format, which gets no file of ours.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = parser.parse_args(words)
    run: Callable[[argparse.Namespace], None] = arguments.run
    cost, before = Cost(), processed.copy()
    try:
        run(arguments)
        if getattr(arguments, "records_cost", True):
            stage = getattr(arguments, "stage", parser.prog.rpartition(".")[2])
            _record(f"{stage} {words[0]}", arguments, cost, before)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _record(job: str, arguments: argparse.Namespace, cost: Cost, before: Counter[str]) -> None:
    made = next((path for name in OUTPUTS if (path := getattr(arguments, name, None))), None)
    if made is None:
        return
    unit, items = next(iter((processed - before).most_common(1)), ("files", 1))
    place = {"job": job, "slurm_job": os.environ.get("SLURM_JOB_ID", "")}
    write_cost(cost_file(made, job.split()[0]), {**place, **cost.record(items, unit)})
