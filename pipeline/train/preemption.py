"""SIGTERM and Ctrl-C as a request to save and leave: what a scheduler or a person sends before the machine is needed.

A second Ctrl-C ends the process at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, TypeVar

from pipeline import distributed

T = TypeVar("T")
EXIT_CODE = 75
"""Exit code of a step that saved its state and left: EX_TEMPFAIL, "try again"."""


class PreemptedError(Exception):
    """The step was asked to leave; running it again continues where it stopped."""


class Preemption:
    """Within the block a signal sets `asked` in place of ending the process; none does outside the main thread."""

    def __init__(self) -> None:
        self.asked = False
        self.name = "SIGTERM"
        """Which signal asked."""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Preemption:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked, self.name = True, "Ctrl-C" if number == signal.SIGINT else "SIGTERM"

    def anywhere(self) -> bool:
        """Return whether any process of the job was asked; all processes get the same answer."""
        return distributed.any_process(self.asked)

    def watched(self, items: Iterator[T]) -> Iterator[T]:
        """Yield the items; raises PreemptedError between two of them if asked. For work that saves nothing."""
        for item in items:
            if self.asked:
                raise PreemptedError(f"{self.name} before the first iteration; nothing to save")
            yield item
