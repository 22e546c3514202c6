"""`python -m pipeline.pseudolabel select-replay|label|list`."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.runtime.allocator import keep_freed_memory
from pipeline.runtime.cli import add_settings, read_settings, run_cli, stage_parser


def main(argv: list[str] | None = None) -> int:
    """Return the exit code."""
    parser = stage_parser("pipeline.pseudolabel", __doc__)
    commands = parser.add_subparsers(required=True)
    replay = commands.add_parser("select-replay", help="choose replay images among the caption queries' results")
    replay.add_argument("--noun-filter", type=Path, required=True)
    replay.add_argument("--manifest", type=Path, required=True)
    replay.add_argument("--shards-dir", type=Path, required=True)
    replay.set_defaults(run=_replay)
    label = commands.add_parser("label", help="label replay images with the model of the step before")
    label.add_argument("--model", type=Path, required=True)
    label.add_argument("--replay", type=Path, required=True)
    label.add_argument("--out-dir", type=Path, required=True, help="folder of the label images")
    label.set_defaults(run=_label)
    listing = commands.add_parser("list", help="write the training list of a step")
    listing.add_argument("--protocol", type=Path, required=True)
    listing.add_argument("--selection", type=Path, help="new_classes.parquet, to train on web images")
    listing.add_argument("--filters", default="both", choices=["none", "noun", "fourier", "both"])
    listing.add_argument("--pseudolabels", type=Path, help="pseudolabels.parquet, to replay")
    listing.add_argument(
        "--earlier", type=Path, nargs="*", default=[], help="protocols of earlier steps, to train on all"
    )
    listing.add_argument("--memory", type=int, default=0, help="exemplars to keep of the images in --previous")
    listing.add_argument("--previous", type=Path, help="train_list.parquet of the step before")
    listing.set_defaults(run=_list)
    for command in (replay, label, listing):
        command.add_argument("--out", type=Path, required=True)
        add_settings(command)
    return run_cli(parser, argv)


def _replay(arguments: argparse.Namespace) -> None:
    from pipeline.pseudolabel.replay import select_replay

    settings = read_settings(arguments).pseudolabel
    select_replay(arguments.noun_filter, arguments.manifest, arguments.shards_dir, settings, arguments.out)


def _label(arguments: argparse.Namespace) -> None:
    keep_freed_memory()
    from pipeline.pseudolabel.label import pseudolabel

    settings = read_settings(arguments).pseudolabel
    pseudolabel(arguments.model, arguments.replay, settings, arguments.out_dir, arguments.out)


def _list(arguments: argparse.Namespace) -> None:
    from pipeline.pseudolabel.listing import Sources, write_train_list

    if arguments.memory and not arguments.previous:
        raise ValueError(f"--memory {arguments.memory} needs --previous, the training list of the step before")
    sources = Sources(
        arguments.selection,
        arguments.filters,
        arguments.pseudolabels,
        tuple(arguments.earlier),
        arguments.memory,
        arguments.previous,
    )
    write_train_list(arguments.protocol, arguments.out, sources)


if __name__ == "__main__":
    raise SystemExit(main())
