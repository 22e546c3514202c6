"""Progress of long work as plain lines: done, total, rate and time left."""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import TextIO

processed: Counter[str] = Counter()
"""Items that this process has worked through, by unit: what the cost of a job is divided by."""


class Progress:
    """Prints `label: 120/500 images, 63.1/s, 6 s left` at most every `interval` seconds.

    The time left counts from the end of the first update on, which bears what is done once (a model, an index); with
    that update alone there is none to say.
    """

    def __init__(
        self,
        label: str,
        total: int,
        unit: str = "images",
        interval: float = 2.0,
        stream: TextIO | None = None,
    ) -> None:
        self.label, self.total, self.unit, self.interval = label, total, unit, interval
        self.stream = stream or sys.stderr
        self.done = 0
        self._start = self._last = time.monotonic()
        self._first = 0
        self._warm: tuple[int, float] | None = None
        """Items done and the time after the first update."""

    def start_from(self, done: int) -> None:
        """Count `done` items as finished earlier, so that a resumed rate is honest."""
        self.done = self._first = done

    def update(self, n: int = 1, note: str = "") -> None:
        """Count `n` more items; print when due. `note` is appended to the line."""
        self.done += n
        processed[self.unit] += n
        now = time.monotonic()
        self._warm = self._warm or (self.done, now)
        if now - self._last >= self.interval or self.done == self.total:
            self._last = now
            self._print(now, note)

    def rate(self) -> float:
        """Items per second since the start."""
        return (self.done - self._first) / max(time.monotonic() - self._start, 1e-9)

    def _print(self, now: float, note: str) -> None:
        rate = (self.done - self._first) / max(now - self._start, 1e-9)
        end = f" ({now - self._start:.1f} s)" if self.done >= self.total else self._left(now)
        note = f", {note}" if note else ""
        line = f"{self.label}: {self.done}/{self.total} {self.unit}, {rate:.1f}/s{end}{note}"
        print(line, file=self.stream, flush=True)

    def _left(self, now: float) -> str:
        done, since = self._warm or (self.done, now)
        if self.done == done:
            return ""
        return f", {(self.total - self.done) * (now - since) / (self.done - done):.0f} s left"
