"""`python -m pipeline.datasets protocol`: write the protocol of one step."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.cli import add_settings, read_settings, run_cli


def main(argv: list[str] | None = None) -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.datasets", description=__doc__)
    commands = parser.add_subparsers(required=True)
    protocol = commands.add_parser("protocol", help="images, classes and labels of one step")
    protocol.add_argument("--step", type=int, required=True)
    protocol.add_argument("--out", type=Path, required=True)
    protocol.set_defaults(run=_protocol)
    add_settings(protocol)
    return run_cli(parser, argv)


def _protocol(arguments: argparse.Namespace) -> None:
    from pipeline.datasets.protocol import write_protocol

    write_protocol(read_settings(arguments).datasets, arguments.step, arguments.out)


if __name__ == "__main__":
    raise SystemExit(main())
