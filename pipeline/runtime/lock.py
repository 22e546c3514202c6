"""`python -m pipeline.runtime.lock FILE COMMAND ...`: run a command unless another one holds the lock.

Snakemake's own lock survives a kill -9 and then has to be removed by hand; this one ends with its process.
"""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path


def main(arguments: list[str]) -> int:
    """Replace this process by the command, holding the lock; return 2 if somebody else holds it."""
    if len(arguments) < 2:
        print("usage: python -m pipeline.runtime.lock FILE COMMAND ...", file=sys.stderr)
        return 2
    path = Path(arguments[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"error: another run holds {path}; wait for it to end", file=sys.stderr)
        return 2
    os.set_inheritable(handle, True)
    os.execvp(arguments[1], arguments[1:])


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
