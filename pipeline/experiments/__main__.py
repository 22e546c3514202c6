"""`python -m pipeline.experiments write|ledger|cost`: the published experiments, their ledger, what one costs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from pipeline.runtime.cli import run_cli, stage_parser


def main(argv: list[str] | None = None) -> int:
    """Return the exit code."""
    parser = stage_parser("pipeline.experiments", __doc__)
    commands = parser.add_subparsers(required=True)
    write = commands.add_parser("write", help="write experiments/*.yaml from experiments/published.tsv")
    write.set_defaults(run=_write)
    ledger = commands.add_parser("ledger", help="write REPRODUCIBILITY.md from the results that are there")
    ledger.add_argument("--out", type=Path, help="another file than REPRODUCIBILITY.md")
    ledger.add_argument("--settings", metavar="JSON", help="laid over every experiment, e.g. another results folder")
    ledger.set_defaults(run=_ledger)
    about = "iterations, memory and time of an experiment before it is run"
    cost = commands.add_parser("cost", aliases=["dry-cost"], help=about)
    cost.add_argument("file", type=Path, nargs="+", help="configuration files, layered from left to right")
    cost.add_argument("--tflops", type=float, default=30.0, help="sustained 10^12 operations per second (default 30)")
    cost.add_argument("--only", metavar="RUN", help="one run, or several parted by commas")
    cost.set_defaults(run=_cost)
    remove = commands.add_parser("clean", help="remove what can be made again without network; list it")
    remove.add_argument("--dry-run", action="store_true", help="list only")
    remove.add_argument("--everything", action="store_true", help="data, results, logs, .snakemake; asks first")
    remove.set_defaults(run=_clean, records_cost=False)
    return run_cli(parser, argv)


def _write(arguments: argparse.Namespace) -> None:
    from pipeline.experiments.build import left_over, write_all

    changed, old = write_all(), left_over()
    print(f"{len(changed)} files written: {' '.join(changed)}" if changed else "every file is up to date")
    if old:
        print(f"{len(old)} files of an earlier table, not removed: {' '.join(old)}")


def _ledger(arguments: argparse.Namespace) -> None:
    from pipeline.experiments.ledger import LEDGER, write_ledger

    path = arguments.out or LEDGER
    print(f"wrote {path}: {write_ledger(path, overrides=arguments.settings)} rows of ours")


def _cost(arguments: argparse.Namespace) -> None:
    from pipeline.config import load_config
    from pipeline.experiments.estimate import cost_lines

    only = json.dumps({"only": arguments.only}) if arguments.only else None
    print("\n".join(cost_lines(load_config(arguments.file, only), arguments.tflops)))


def _clean(arguments: argparse.Namespace) -> None:
    from pipeline.experiments.clean import clean, everything, experiments, remove_everything

    if arguments.everything:
        folders = ", ".join(map(str, everything()))
        if not folders:
            print("nothing to remove")
            return
        print(f"this removes {folders}, downloads, crawls and results of your own included")
        lines = remove_everything("" if arguments.dry_run else _answer("type `yes` to remove: "))
    else:
        lines = clean(experiments(sorted(Path("experiments").glob("mini*.yaml"))), arguments.dry_run)
    print("\n".join(lines) or "nothing to remove")


def _answer(question: str) -> str:
    try:
        return input(question)
    except EOFError:
        return ""


if __name__ == "__main__":
    raise SystemExit(main())
