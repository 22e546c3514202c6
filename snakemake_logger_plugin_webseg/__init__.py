"""`snakemake --logger webseg`: what runs now, how far it is and when it ends, in place of Snakemake's own lines."""

from __future__ import annotations

import sys
from typing import Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from pipeline.runtime.status import Board
from pipeline.runtime.status_display import Display, open_display


class LogHandler(LogHandlerBase):
    """Turns Snakemake's events into the state of a board, and messages into lines above it."""

    def __post_init__(self) -> None:
        self.board = Board()
        self.display: Display | None = None
        # A dry run prints its plan, and `-p` its commands: the user asked for Snakemake's own words.
        self.plain = self.common_settings.dryrun or self.common_settings.printshellcmds

    def emit(self, record: Any) -> None:
        """Take one event. Called by one thread only."""
        event = getattr(record, "event", None)
        if self.plain:
            self._say(record)
        elif event in (LogEvent.RUN_INFO, LogEvent.PROGRESS, LogEvent.JOB_INFO, LogEvent.JOB_STARTED):
            self._follow(event, record)
        elif event == LogEvent.JOB_FINISHED:
            self._show(self.board.finished(record.job_id))
        elif event == LogEvent.JOB_ERROR:
            self._show(*self.board.failed(record.jobid, record.rule_name, list(record.log or [])))
        elif event == LogEvent.ERROR or record.levelno >= 40:
            self._show(self.board.error(record.getMessage()))
        elif event is None and record.levelno >= 30:
            self._show(record.getMessage().strip())

    def _follow(self, event: LogEvent, record: Any) -> None:
        if event == LogEvent.RUN_INFO:
            self.board.planned(dict(record.stats))
        elif event == LogEvent.PROGRESS:
            self.board.progress(record.done, record.total)
        elif event == LogEvent.JOB_INFO:
            self._show(
                self.board.begins(record.jobid, record.rule_name, dict(record.wildcards), list(record.log or []))
            )
        if self.display is None:
            self.display = open_display(self.board, sys.stderr)

    def _show(self, *lines: str) -> None:
        shown = [line for line in lines if line]
        if self.display is None:
            self.display = open_display(self.board, sys.stderr)
        for line in shown:
            self.display.line(line)

    def _say(self, record: Any) -> None:
        text = self.format(record)
        if text and text != "None":
            print(text, file=sys.stdout if self.common_settings.stdout else sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the last state on the screen, and remember how long each kind of job took."""
        if self.display is not None:
            self.display.close()
            self.display = None
        if not self.plain:
            self.board.remember()
        super().close()

    @property
    def writes_to_stream(self) -> bool:
        """Return true: Snakemake's own lines are left out."""
        return True

    @property
    def writes_to_file(self) -> bool:
        """Return false: Snakemake's log file is written as ever."""
        return False

    @property
    def has_filter(self) -> bool:
        """Return true unless plain: every event matters, whatever `--quiet` says."""
        return not self.plain

    @property
    def has_formatter(self) -> bool:
        """Return false: plain lines are formatted by Snakemake."""
        return False

    @property
    def needs_rulegraph(self) -> bool:
        """Return false."""
        return False
