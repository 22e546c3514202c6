"""`python -m pipeline.datasets prepare|explain|compare-splits|init|protocol`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pipeline.runtime.cli import add_settings, read_settings, run_cli, stage_parser

DATASETS = ("voc", "ade", "coco", "coco-voc", "own", "minivoc")


def main(argv: list[str] | None = None) -> int:
    """Return the exit code."""
    parser = stage_parser("pipeline.datasets", __doc__)
    commands = parser.add_subparsers(required=True)
    _add_prepare(commands)
    _add_explain(commands)
    _add_compare(commands)
    _add_init(commands)
    protocol = commands.add_parser("protocol", help="write images, classes and labels of one step")
    protocol.add_argument("--step", type=int, required=True)
    protocol.add_argument("--out", type=Path, required=True)
    protocol.set_defaults(run=_protocol)
    add_settings(protocol)
    return run_cli(parser, argv)


def _add_prepare(commands: Any) -> None:
    prepare = commands.add_parser("prepare", help="check a downloaded data set and build what is derived from it")
    prepare.add_argument("dataset", help="voc, ade, coco or coco-voc")
    prepare.add_argument("--root", type=Path, required=True, help="its folder; for coco-voc one with coco/ and voc/")
    prepare.add_argument("--sbd", type=Path, help="the dataset/ folder of SBD, if it is not under the root")
    prepare.add_argument("--subset", action="store_true", help="the data is deliberately a part of the whole")
    prepare.add_argument("--no-checksums", action="store_true", help="do not build or compare checksums.sha256")
    prepare.set_defaults(run=_prepare)


def _add_explain(commands: Any) -> None:
    explain = commands.add_parser("explain", help="say what each step of a task contains")
    _add_task(explain)
    explain.add_argument("--rule", choices=("plop", "mib", "wilson"), default="plop", help="label rule")
    explain.add_argument("--root", type=Path, help="count the images of this data set beside the reference")
    explain.set_defaults(run=_explain)


def _add_compare(commands: Any) -> None:
    compare = commands.add_parser("compare-splits", help="name every difference between train-<t>.npy lists and ours")
    _add_task(compare)
    compare.add_argument("--root", type=Path, required=True, help="the data set's folder")
    compare.add_argument("--theirs", type=Path, required=True, help="folder that holds train-0.npy, train-1.npy, ...")
    compare.add_argument("--limit", type=int, default=10, help="ids named per list; 0 names all")
    compare.set_defaults(run=_compare)


def _add_init(commands: Any) -> None:
    init = commands.add_parser("init", help="check your own data and write its splits, tasks and experiment")
    init.add_argument("root", type=Path, help="folder with images/, masks/ and classes.txt")
    init.add_argument("--seed", type=int, default=0, help="seed of the division into train and val")
    init.set_defaults(run=_init, records_cost=False)


def _add_task(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", help=", ".join(DATASETS))
    parser.add_argument("task", help="15-1, 100-50, voc, ...")
    parser.add_argument("--setting", default="overlap", help="overlap, disjoint, sequential or partition")


def _prepare(arguments: argparse.Namespace) -> None:
    from pipeline.datasets.prepare.preparation import Options, prepare

    options = Options(arguments.sbd, arguments.subset, not arguments.no_checksums)
    print("\n".join(prepare(arguments.dataset, arguments.root, options).lines))


def _explain(arguments: argparse.Namespace) -> None:
    from pipeline.datasets.explain import explain

    lines = explain(arguments.dataset, arguments.task, arguments.setting, arguments.rule, arguments.root)
    print("\n".join(lines))


def _compare(arguments: argparse.Namespace) -> None:
    from pipeline.datasets import DatasetError
    from pipeline.datasets.readers.registry import open_dataset
    from pipeline.datasets.split_lists import compare_lists, wrong_labels

    reader = open_dataset(arguments.dataset, arguments.root)
    found = compare_lists(reader, arguments.task, arguments.setting, arguments.theirs)
    for difference in found:
        print("\n".join(difference.lines(arguments.limit)))
    problems = wrong_labels(reader, arguments.task)
    for words, steps in (
        ("differ", [d.step for d in found if not d.equal and not d.problem]),
        ("could not be compared", [d.step for d in found if d.problem]),
    ):
        if steps:
            problems.append(f"{len(steps)} of {len(found)} lists {words} (steps {', '.join(map(str, steps))})")
    if problems:
        raise DatasetError("; ".join(problems))


def _init(arguments: argparse.Namespace) -> None:
    from pipeline.datasets.own_init import init_own

    print("\n".join(init_own(arguments.root, arguments.seed)))


def _protocol(arguments: argparse.Namespace) -> None:
    from pipeline.datasets.protocol import write_protocol

    write_protocol(read_settings(arguments).datasets, arguments.step, arguments.out)


if __name__ == "__main__":
    raise SystemExit(main())
