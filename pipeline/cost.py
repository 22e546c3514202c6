"""What a job cost: wall time, CPU time, peak memory, and the GPU if one was used."""

from __future__ import annotations

import platform
import resource
import sys
import time
from pathlib import Path
from typing import Any

from pipeline.artifacts import read_json, write_json


class Cost:
    """Measures from construction to `record`; earlier parts of a resumed job are added."""

    def __init__(self, earlier: dict[str, Any] | None = None) -> None:
        self._earlier = earlier or {}
        self._wall, self._cpu = time.monotonic(), time.process_time()

    def record(self, items: int, unit: str) -> dict[str, Any]:
        """Return the cost so far; `items` were processed in total."""
        wall = time.monotonic() - self._wall + self._earlier.get("wall_seconds", 0.0)
        cpu = time.process_time() - self._cpu + self._earlier.get("cpu_seconds", 0.0)
        peak = max(_peak_megabytes(), self._earlier.get("peak_memory_mb", 0.0))
        return {
            "wall_seconds": round(wall, 3),
            "cpu_seconds": round(cpu, 3),
            "peak_memory_mb": round(peak, 1),
            "items": items,
            "unit": unit,
            "items_per_second": round(items / max(wall, 1e-9), 3),
            "machine": platform.machine(),
            "gpu": _gpu(),
        }


def read_cost(path: str | Path) -> dict[str, Any] | None:
    """Return a recorded cost, or None."""
    return read_json(path) if Path(path).exists() else None


def write_cost(path: str | Path, cost: dict[str, Any]) -> None:
    """Write cost.json."""
    write_json(path, cost)


def _peak_megabytes() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _gpu() -> dict[str, Any] | None:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return {
        "name": torch.cuda.get_device_name(),
        "peak_memory_mb": round(torch.cuda.max_memory_allocated() / 2**20, 1),
    }
