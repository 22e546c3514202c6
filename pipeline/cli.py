"""What every `python -m pipeline.<stage>` shares: settings options and one-line errors."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from pipeline.config import Config, load_config


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

    Every sub-parser sets its function by `set_defaults(run=...)`.
    """
    arguments = parser.parse_args(argv)
    run: Callable[[argparse.Namespace], None] = arguments.run
    try:
        run(arguments)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
