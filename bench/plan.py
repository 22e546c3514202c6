"""How long Snakemake plans a crawl of very many shards, and with how much memory: a dry run of the real graph.

python bench/plan.py --shards 50000                              # nothing exists yet
python bench/plan.py --shards 1000 5000 --profile profiles/slurm # with the profile's groups
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

PLANS = 3
"""Plans of a task with one step after the base: base, step1, replay1."""


def plan(shards: int, profile: str) -> str:
    """Return one row: shards, jobs, CPU seconds, wall seconds and peak memory of a dry run."""
    with tempfile.TemporaryDirectory() as folder:
        overlay = Path(folder) / "many.yaml"
        settings = {
            "experiment": {"name": "many", "data_dir": f"{folder}/data", "results_dir": f"{folder}/results"},
            "crawl_ingest": {"shards": -(-shards // PLANS)},
        }
        overlay.write_text(yaml.safe_dump(settings))
        command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "rules", "--nolock",
                   "--workflow-profile", profile, "--configfile", str(overlay)]  # fmt: skip
        log = Path(folder) / "log"
        started = time.monotonic()
        with log.open("w") as file:
            process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
            _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - started
        text = log.read_text()
    found = re.findall(r"^total +(\d+)$", text, re.MULTILINE)
    if status or not found:
        raise SystemExit(f"the dry run of {shards} shards failed:\n{text[-2000:]}")
    cpu = usage.ru_utime + usage.ru_stime
    return f"{PLANS * -(-shards // PLANS):8d}{int(found[-1]):9d}{cpu:10.1f}{wall:10.1f}{usage.ru_maxrss / 1024:10.0f}"


def main() -> None:
    """Print a row per number of shards."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, nargs="+", default=[50_000])
    parser.add_argument("--profile", default="profiles/default")
    arguments = parser.parse_args()
    print("  shards     jobs    CPU, s   wall, s  peak, MB", flush=True)
    for shards in arguments.shards:
        print(plan(shards, arguments.profile), flush=True)


if __name__ == "__main__":
    main()
