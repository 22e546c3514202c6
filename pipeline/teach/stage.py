"""`python -m pipeline.teach.stage look|import-base`: what the rules of a taught experiment call."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.runtime.cli import add_settings, read_settings, run_cli, stage_parser


def main(argv: list[str] | None = None) -> int:
    """Return the exit code."""
    parser = stage_parser("pipeline.teach.stage", __doc__)
    parser.set_defaults(stage="teach")
    commands = parser.add_subparsers(required=True)
    look = commands.add_parser("look", help="label the user's images with the given model, divide them")
    look.set_defaults(run=_look)
    base = commands.add_parser("import-base", help="take the given model over as step 0, not trained")
    base.add_argument("--protocol", type=Path, required=True, help="protocol of step 0")
    base.add_argument("--recipe", required=True, help="base recipe of the runs")
    base.add_argument("--seed", type=int, required=True)
    base.set_defaults(run=_import, records_cost=False)
    for command in (look, base):
        command.add_argument("--out", type=Path, required=True)
        add_settings(command)
    return run_cli(parser, argv)


def _look(arguments: argparse.Namespace) -> None:
    from pipeline.teach.look import look

    look(read_settings(arguments), arguments.out)


def _import(arguments: argparse.Namespace) -> None:
    from pipeline.teach.import_base import import_base

    model = Path(read_settings(arguments).teach.model)
    import_base(model, arguments.protocol, arguments.recipe, arguments.seed, arguments.out)


if __name__ == "__main__":
    raise SystemExit(main())
