"""`python -m pipeline.config write-defaults`: config.yaml from the docstrings of the sections."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pipeline.config.defaults import defaults_text, write_defaults

FILE = Path(__file__).parents[2] / "config.yaml"


def main(argv: list[str] | None = None) -> int:
    """Return the exit code: 0, 1 if `--check` finds another text, 2 for a mistake."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.config", description=__doc__)
    commands = parser.add_subparsers(required=True)
    write = commands.add_parser("write-defaults", help="write config.yaml from the docstrings of pipeline/config")
    write.add_argument("--out", type=Path, default=FILE, help=f"the file (default {FILE})")
    write.add_argument("--check", action="store_true", help="write nothing; exit code 1 if the file differs")
    arguments = parser.parse_args(argv)
    try:
        return _write(arguments.out, arguments.check)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _write(path: Path, check: bool) -> int:
    if not check:
        print(f"wrote {path}" if write_defaults(path) else f"{path} is up to date")
        return 0
    if path.exists() and path.read_text() == defaults_text():
        print(f"{path} is up to date")
        return 0
    print(f"{path} is not what the docstrings say; run `python -m pipeline.config write-defaults`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
