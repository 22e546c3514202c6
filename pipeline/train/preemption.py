"""SIGTERM as a request to save and leave: what a scheduler sends before it takes a machine away."""

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
    """Within the block SIGTERM sets `asked` in place of ending the process. Outside the main thread it does nothing."""

    def __init__(self) -> None:
        self.asked = False
        self._before: Any = None

    def __enter__(self) -> Preemption:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._ask)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True

    def anywhere(self) -> bool:
        """Return whether any process of the job was asked; all processes get the same answer."""
        return distributed.any_process(self.asked)

    def watched(self, items: Iterator[T]) -> Iterator[T]:
        """Yield the items; raises PreemptedError between two of them if asked. For work that saves nothing."""
        for item in items:
            if self.asked:
                raise PreemptedError("SIGTERM before the first iteration; nothing to save")
            yield item
