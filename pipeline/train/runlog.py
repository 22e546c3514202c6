"""What a training step leaves to look at: log.csv, TensorBoard scalars and progress lines."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

from pipeline.runtime.progress import Progress


class RunLog:
    """Appends one row per logged iteration to log.csv; a resumed step first cuts rows it will redo."""

    def __init__(self, folder: Path, label: str, total: int, start: int, tensorboard: bool) -> None:
        self.path = folder / "log.csv"
        self.progress = Progress(label, total, unit="iterations", interval=5.0)
        self.progress.start_from(start)
        self._rows = _rows_before(self.path, start)
        self._flush()
        self._board: Any = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tb"), purge_step=start)

    def step(self, iteration: int, epoch: int, lr: float, terms: dict[str, float], every: int = 10) -> None:
        """Count one iteration; every tenth and the last are written."""
        total = sum(terms.values())
        note = " ".join([f"loss {total:.4f}", *(f"{name} {value:.4f}" for name, value in terms.items())])
        self.progress.update(note=note)
        if iteration % every == 0 or iteration == self.progress.total - 1:
            for name, value in {"loss": total, **terms}.items():
                self._rows.append({"iteration": iteration, "epoch": epoch, "lr": lr, "term": name, "value": value})
                if self._board is not None:
                    self._board.add_scalar(f"train/{name}", value, iteration)

    def flush(self) -> None:
        """Write rows to disk; called before every saved state."""
        self._flush()
        if self._board is not None:
            self._board.flush()

    def close(self) -> None:
        """Write the last rows and close TensorBoard."""
        self._flush()
        if self._board is not None:
            self._board.close()

    def _flush(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".csv.tmp")
        with temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["iteration", "epoch", "lr", "term", "value"])
            writer.writeheader()
            writer.writerows(self._rows)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self.path)


class SilentLog:
    """What processes other than the first have in place of a RunLog."""

    def step(self, iteration: int, epoch: int, lr: float, terms: dict[str, float], every: int = 10) -> None:
        """Write nothing."""

    def flush(self) -> None:
        """Write nothing."""

    def close(self) -> None:
        """Write nothing."""


def _rows_before(path: Path, start: int) -> list[dict[str, Any]]:
    if not path.exists() or start == 0:
        return []
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if int(row["iteration"]) < start]
