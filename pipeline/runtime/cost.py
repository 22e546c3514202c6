"""What a job cost: wall time, CPU time, peak memory, and the GPU if one was used."""

from __future__ import annotations

import platform
import resource
import sys
import time
from pathlib import Path
from typing import Any

from pipeline.artifacts import write_json


class Cost:
    """Measures from construction to `record`; earlier parts of a resumed job are added."""

    def __init__(self, earlier: dict[str, Any] | None = None) -> None:
        self._earlier = earlier or {}
        self._wall, self._cpu = time.monotonic(), _cpu_seconds()

    def record(self, items: int, unit: str) -> dict[str, Any]:
        """Return the cost so far; `items` were processed in total."""
        wall = time.monotonic() - self._wall + self._earlier.get("wall_seconds", 0.0)
        cpu = _cpu_seconds() - self._cpu + self._earlier.get("cpu_seconds", 0.0)
        peak = max(_peak_megabytes(), self._earlier.get("peak_memory_mb", 0.0))
        return {
            "wall_seconds": round(wall, 3),
            "cpu_seconds": round(cpu, 3),
            "peak_memory_mb": round(peak, 1),
            "items": items,
            "unit": unit,
            "items_per_second": round(items / max(wall, 1e-9), 3),
            "machine": platform.machine(),
            "host": platform.node(),
            "gpu": _gpu(),
        }


def cost_file(made: str | Path, stage: str) -> Path:
    """Return where a job's cost is kept: `x.cost.json` beside a file `x.parquet`, `<stage>.cost.json` in a folder."""
    made = Path(made)
    # A folder's name may hold a dot, too.
    return made.with_suffix(".cost.json") if made.suffix and not made.is_dir() else made / f"{stage}.cost.json"


def write_cost(path: str | Path, cost: dict[str, Any]) -> None:
    """Write cost.json."""
    write_json(path, cost)


def _cpu_seconds() -> float:
    """CPU time of this process and of the workers that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


def _peak_megabytes() -> float:
    """Peak memory of the largest process of the job; workers share what they were forked with."""
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _gpu() -> dict[str, Any] | None:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return {
        "name": torch.cuda.get_device_name(),
        "peak_memory_mb": round(torch.cuda.max_memory_allocated() / 2**20, 1),
    }
