"""`python -m pipeline.train --processes N`: torchrun on one machine, with exit codes that mean something."""

from __future__ import annotations

import signal
import sys
import tempfile
import uuid
from collections.abc import Sequence
from typing import Any

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from pipeline.distributed import LOST_CODE
from pipeline.train import preemption

MONITOR_SECONDS = 0.2


def launch(processes: int, arguments: Sequence[str]) -> int:
    """Run `python -m pipeline.train <arguments>` as that many processes of one group; return the job's exit code.

    If a process fails, the others are ended, and the code is that of the process which failed first: 2 for an error
    of the user's, 75 (preemption.EXIT_CODE) if the state was saved after SIGTERM, 128 + n for death by signal n.
    """
    with tempfile.TemporaryDirectory(prefix="torchrun-") as logs:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            max_restarts=0,
            monitor_interval=MONITOR_SECONDS,
            logs_specs=DefaultLogsSpecs(log_dir=logs),
        )
        try:
            elastic_launch(config, entrypoint=sys.executable)("-u", "-m", "pipeline.train", *arguments)
        except SignalException as error:
            return preemption.EXIT_CODE if error.sigval == signal.SIGTERM else 128 + int(error.sigval)
        except ChildFailedError as error:
            return _report(error.failures, processes)
    return 0


def _report(failures: dict[int, Any], processes: int) -> int:
    # The process that ended first is to blame. One with LOST_CODE says itself that it is not, and SIGTERM is what
    # torchrun sends to the others, which may be noticed before the death that caused it.
    innocent = (LOST_CODE, -signal.SIGTERM)
    order = {rank: (failure.exitcode in innocent, failure.timestamp, rank) for rank, failure in failures.items()}
    rank = min(order, key=order.__getitem__)
    first = failures[rank]
    code = int(first.exitcode)
    if code == preemption.EXIT_CODE:
        return code
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"failed with exit code {code}"
    print(
        f"error: process {rank} of {processes} {how} and the job ended; run it again to continue from the last state",
        file=sys.stderr,
    )
    return 128 - code if code < 0 else code
