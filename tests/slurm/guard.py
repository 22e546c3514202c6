"""Stops a cluster when whoever started it is gone, however it went: `guard.py FOLDER`, until the end of its input."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.slurm.cluster import Cluster

if __name__ == "__main__":
    sys.stdin.buffer.read()
    Cluster(Path(sys.argv[1])).stop()
