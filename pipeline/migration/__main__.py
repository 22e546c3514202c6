"""`python -m pipeline.migration replay|checkpoint`: take over what the original repositories wrote."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pipeline.runtime.cli import run_cli, stage_parser


def main(argv: list[str] | None = None) -> int:
    """Return the exit code."""
    parser = stage_parser("pipeline.migration", __doc__)
    commands = parser.add_subparsers(required=True)
    _add_commands(commands)
    return run_cli(parser, argv)


def _add_commands(kinds: Any) -> None:
    replay = kinds.add_parser("replay", help="a replay folder with train_fullPath.txt, as pseudolabels.parquet")
    replay.add_argument("root", type=Path)
    replay.add_argument("--per-source", type=int, default=2, help="images of each source image")
    replay.add_argument("--protocol", type=Path, help="protocol/step<k>.json; its evaluation images are left out")
    replay.set_defaults(run=_import_replay)
    checkpoint = kinds.add_parser("checkpoint", help="a .pth of MiB, PLOP, SATS, SSUL or WILSON, as model.safetensors")
    checkpoint.add_argument("file", type=Path)
    checkpoint.add_argument("--protocol", type=Path, required=True, help="protocol/step<k>.json of its step")
    checkpoint.add_argument("--backbone", default="", help="its network, if not the one of the code base")
    checkpoint.add_argument(
        "--norm-act", choices=("iabn", "abn"), default="iabn", help="abn: trained with the option --norm_act abn"
    )
    checkpoint.set_defaults(run=_import_checkpoint)
    for command in (replay, checkpoint):
        command.add_argument("--out", type=Path, required=True)
        command.set_defaults(records_cost=False)


def _import_replay(arguments: argparse.Namespace) -> None:
    from pipeline.migration.replay import import_replay

    print(import_replay(arguments.root, arguments.out, arguments.per_source, arguments.protocol))


def _import_checkpoint(arguments: argparse.Namespace) -> None:
    from pipeline.migration.checkpoint import import_checkpoint

    print(import_checkpoint(arguments.file, arguments.protocol, arguments.out, arguments.backbone, arguments.norm_act))


if __name__ == "__main__":
    raise SystemExit(main())
