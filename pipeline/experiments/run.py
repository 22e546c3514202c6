"""`webseg run [EXPERIMENT.yaml] [OPTIONS OF SNAKEMAKE]`: the packaged workflow, in the current folder.

Without a file the embedded default runs: the mini web, on CPU. data/, results/ and logs/ go into the current folder.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.runtime.shipped import PACKAGE, installed, shipped

LOCK = ".snakemake/run.lock"
_DRY = {"-n", "--dry-run", "--dryrun", "--summary", "--detailed-summary", "--list-rules", "-l", "--dag", "--rulegraph"}
_USAGE = """
usage: webseg run [EXPERIMENT.yaml] [options of snakemake]

  webseg run                                 the embedded default experiment
  webseg run experiment.yaml -n              say what would be run
  webseg run experiment.yaml --cores 8
  webseg run experiment.yaml --workflow-profile slurm     local, slurm, slurm_gres, kubernetes, or a folder of yours
"""


def command(words: Sequence[str]) -> list[str]:
    """Return the command line of Snakemake. Raises ValueError if the experiment's file is not there."""
    experiment, options = (words[0], words[1:]) if words and not words[0].startswith("-") else ("", words)
    if any(word.split("=")[0] in ("--configfile", "--configfiles", "-s", "--snakefile") for word in options):
        raise ValueError("webseg run sets --snakefile and --configfile; name the experiment's file as the first word")
    if experiment and not Path(experiment).is_file():
        raise ValueError(f"experiment {experiment} does not exist; give the path of its YAML file as the first word")
    line = [sys.executable, "-m", "snakemake", "--snakefile", str(shipped("Snakefile"))]
    if not _DRY & set(options):
        # Snakemake's own lock outlives a kill -9; this one ends with the process that holds it.
        line = [sys.executable, "-m", "pipeline.runtime.lock", LOCK, *line, "--nolock"]
    shown = [] if any(word.split("=")[0] == "--logger" for word in options) else ["--logger", "webseg"]
    return [*line, *shown, *(["--configfile", experiment] if experiment else []), *options]


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which the rules' `python -m pipeline.<stage>` is this Python and this package."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{given.get('PATH', os.defpath)}"
    made = {**given, "PATH": path, "TOKENIZERS_PARALLELISM": given.get("TOKENIZERS_PARALLELISM", "false")}
    if installed():
        made["PYTHONSAFEPATH"] = "1"  # a folder `pipeline` of the user's would be imported in place of the package
    else:
        made["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PACKAGE.parent), given.get("PYTHONPATH", "")]))
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Become Snakemake; return 2 for a mistake in the command line."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] in (["-h"], ["--help"]):
        print(__doc__ + _USAGE)
        return 0
    try:
        line = command(words)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    sys.stdout.flush()
    os.execve(line[0], line, environment(os.environ))


if __name__ == "__main__":
    raise SystemExit(main())
