"""Several shards open the state of a pool at the same moment."""

import subprocess
import sys
import time
from pathlib import Path

OPEN = """
import sys, time
from pathlib import Path
from pipeline.crawl_ingest.pool.state import PoolState
time.sleep(max(0, float(sys.argv[2]) - time.time()))
for number in range(30):
    PoolState(Path(sys.argv[1]) / str(number), "policy")
"""


def test_processes_that_start_together_share_a_new_pool(tmp_path: Path) -> None:
    start = str(time.time() + 1.5)
    command = [sys.executable, "-c", OPEN, str(tmp_path), start]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    errors = [process.communicate(timeout=120)[1] for process in running]
    assert [process.returncode for process in running] == [0] * 4, errors
