"""Shows a board: one live block on a terminal, plain lines elsewhere (a log, CI)."""

from __future__ import annotations

import threading
import time
from typing import Protocol, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.runtime.status import Board, duration

EVERY = 60.0
"""Seconds between two reports of a running job where there is no terminal."""


class Display(Protocol):
    """Where lines and the state of the board go."""

    def line(self, text: str) -> None:
        """Print a line that stays."""

    def close(self) -> None:
        """End the display."""


def open_display(board: Board, stream: TextIO) -> Display:
    """Return a live block if the stream is a terminal, else plain lines."""
    console = Console(file=stream)
    return (
        LiveBlock(board, console) if console.is_terminal and not console.is_dumb_terminal else PlainLines(board, stream)
    )


class PlainLines:
    """A line when a job begins and ends, and every minute what the running ones say."""

    def __init__(self, board: Board, stream: TextIO, every: float = EVERY) -> None:
        self._board, self._stream, self._every = board, stream, every
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._report, daemon=True)
        self._thread.start()

    def line(self, text: str) -> None:
        """Print a line with the time and how many jobs are done."""
        board = self._board
        print(
            f"[{time.strftime('%H:%M:%S')} {board.finished_jobs}/{board.total_jobs}] {text}",
            file=self._stream,
            flush=True,
        )

    def close(self) -> None:
        """Stop reporting."""
        self._ended.set()
        self._thread.join(timeout=2)

    def _report(self) -> None:
        while not self._ended.wait(self._every):
            for job in list(self._board.running.values()):
                if job.seconds() >= self._every and (said := job.saying()):
                    self.line(f"{job.name}: {said}")


class LiveBlock:
    """Bars per rule, the running jobs with the last line of their logs, and the time that is left."""

    def __init__(self, board: Board, console: Console) -> None:
        self._board, self._console, self._began = board, console, time.monotonic()
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=2, transient=False)
        self._live.start()

    def line(self, text: str) -> None:
        """Print above the block what stays: failures and messages; that a job begins or ends is in the block."""
        if not text.endswith(": begins") and ": done in " not in text:
            self._console.print(Text(text))

    def close(self) -> None:
        """Leave the last state on the screen."""
        self._live.stop()

    def _render(self) -> RenderableType:
        return Group(self._bars(), self._jobs(), self._foot())

    def _bars(self) -> Table:
        table = Table.grid(padding=(0, 1))
        for rule, total in sorted(self._board.totals.items()):
            done = self._board.done[rule]
            active = any(job.rule == rule for job in list(self._board.running.values()))
            if done < total or active:
                bar = ProgressBar(total=total, completed=done, width=20)
                table.add_row(Text(rule, style="bold" if active else "dim"), bar, f"{done}/{total}")
        return table

    def _jobs(self) -> Table:
        table = Table.grid(padding=(0, 1))
        for job in list(self._board.running.values()):
            said = job.saying().partition(": ")[2] or job.saying()
            table.add_row(
                Text("▸"), Text(job.name, style="bold"), duration(job.seconds()), Text(said, overflow="ellipsis")
            )
        return table

    def _foot(self) -> Text:
        board = self._board
        left = board.left()
        rest = f", about {duration(left)} left" if left else ""
        failed = f", {board.failures} failed" if board.failures else ""
        spent = duration(time.monotonic() - self._began)
        return Text(f"{board.finished_jobs} of {board.total_jobs} jobs done{failed}, {spent}{rest}", style="bold")
