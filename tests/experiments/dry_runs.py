"""`snakemake --configfile FILE -n` for many files: run in a copy of the repository, prints a line of JSON per file.

python dry_runs.py experiments/a.yaml ...    # {"file": ..., "jobs": {rule: count}} or {"file": ..., "error": text}

Every file gets a process of its own, forked from one that has everything imported: a Snakefile runs in the namespace
of Snakemake's own module, so that two in one process would disturb each other.
"""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from contextlib import redirect_stderr, redirect_stdout, suppress
from typing import Any

COMMAND = ["--cores", "2", "--workflow-profile", "profiles/default", "--quiet", "rules", "progress", "-n"]


def plan(file: str) -> dict[str, Any]:
    """Return {rule: jobs} of a dry run, as Snakemake itself reports it."""
    from snakemake.cli import main
    from snakemake.logging import logger

    found: dict[str, int] = {}

    def note(record: logging.LogRecord) -> bool:
        found.update(getattr(record, "stats", {}))
        return True

    logger.addFilter(note)
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said), suppress(SystemExit):
        main([*COMMAND, "--configfile", file])
    return {"file": file, "jobs": found} if found else {"file": file, "error": said.getvalue()[-2000:]}


def forked(file: str) -> str:
    """Return a line of JSON that a child process found."""
    reading, writing = os.pipe()
    if not os.fork():
        os.close(reading)
        # The child must end here whatever happens, or two processes would go on with the list.
        try:
            os.write(writing, json.dumps(plan(file)).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        line = pipe.read()
    os.wait()
    return line or json.dumps({"file": file, "error": "the process ended without a word"})


def main() -> None:
    """Print a line per file."""
    sys.path.insert(0, os.getcwd())
    import snakemake.cli
    import snakemake.workflow

    import pipeline.workflow
    from pipeline import methods

    assert snakemake.cli and pipeline.workflow and methods.names()
    for file in sys.argv[1:]:
        print(forked(file), flush=True)


if __name__ == "__main__":
    main()
