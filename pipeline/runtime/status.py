"""The state of a run of the workflow: what is planned, what runs now, how far it is, what failed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

DURATIONS = Path(".snakemake/webseg_durations.json")
"""Mean seconds of each kind of job in earlier runs of this folder."""
TAIL = 4096
SHOWN_LINES = 12
"""Lines of a failed job's log that are shown."""


@dataclass
class Job:
    """A job that runs."""

    rule: str
    words: str
    """What tells it from other jobs of its rule, such as `web_wilss seed 0 step 1`."""
    log: str
    started: float = field(default_factory=time.monotonic)

    @property
    def name(self) -> str:
        """Rule and words."""
        return f"{self.rule} {self.words}".strip()

    def seconds(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.started

    def saying(self) -> str:
        """Return the last line of its log: stages print their progress there. Empty if there is none."""
        lines = tail_of(self.log)
        return lines[-1] if lines else ""


def tail_of(log: str, limit: int = TAIL) -> list[str]:
    """Return the last complete lines of a log, [] if it cannot be read."""
    if not log:
        return []
    try:
        with open(log, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - limit))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    lines = [printable(part) for part in re.split(r"[\r\n]+", text)]
    return [line for line in lines if line.strip()]


def printable(text: str) -> str:
    """Return text without control characters: logs hold what strangers wrote."""
    return "".join(c if c.isprintable() else " " for c in text).rstrip()


class Board:
    """Everything that a display shows. `earlier` are mean seconds by rule of earlier runs."""

    def __init__(self, durations: Path = DURATIONS) -> None:
        self.totals: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.running: dict[int, Job] = {}
        self.finished_jobs = self.total_jobs = 0
        self.failures = 0
        self._file = durations
        self.earlier = _read_durations(durations)
        self._spent: dict[str, list[float]] = {}
        self._errors: set[str] = set()

    def planned(self, stats: Mapping[str, object]) -> None:
        """Take the number of jobs by rule."""
        counts = {rule: int(str(n)) for rule, n in stats.items() if str(n).isdigit() and rule not in ("total", "all")}
        self.totals = Counter(counts)
        self.total_jobs = sum(counts.values())

    def progress(self, done: int, total: int) -> None:
        """Take how many jobs of how many are done."""
        self.finished_jobs, self.total_jobs = done, total

    def begins(self, number: int, rule: str, wildcards: Mapping[str, object], logs: list[str]) -> str:
        """A job begins; return the line that says so."""
        if rule == "all":
            return ""
        words = " ".join(_word(key, str(value)) for key, value in wildcards.items())
        self.running[number] = Job(rule, printable(words), logs[0] if logs else "")
        return f"{rule} {words}: begins".replace(" :", ":")

    def finished(self, number: int) -> str:
        """A job is done; return the line that says so, empty for one that was not followed."""
        job = self.running.pop(number, None)
        if job is None:
            return ""
        self.done[job.rule] += 1
        self._spent.setdefault(job.rule, []).append(job.seconds())
        return f"{job.name}: done in {duration(job.seconds())}"

    def failed(self, number: int, rule: str, logs: list[str]) -> list[str]:
        """A job failed; return what its log said last, where that is, and how to go on."""
        job = self.running.pop(number, None)
        self.failures += 1
        log = logs[0] if logs else job.log if job else ""
        said = tail_of(log)[-SHOWN_LINES:]
        return [
            f"FAILED: {job.name if job else rule}",
            *(f"    {line}" for line in said),
            f"    log: {log}" if log else "",
            "    mend the cause and run the same command: everything that is done stays",
        ]

    def error(self, message: str) -> str:
        """Return a message of Snakemake's the first time; settings in a command are left out."""
        text = re.sub(r"--settings '[^']*'", "--settings ...", message).strip()
        text = "\n".join(printable(line) for line in text.splitlines())
        if not text or text in self._errors or self.failures:
            return ""
        self._errors.add(text)
        return text

    def left(self, cores: int = 1) -> float | None:
        """Return the seconds that are left by what the same kinds of jobs took before; None if one is unknown."""
        seconds = 0.0
        for rule, total in self.totals.items():
            open_jobs = total - self.done[rule] - sum(job.rule == rule for job in self.running.values())
            usual = self._usual(rule)
            if usual is None and (open_jobs > 0 or any(job.rule == rule for job in self.running.values())):
                return None
            seconds += max(open_jobs, 0) * (usual or 0.0)
            seconds += sum(
                max((usual or 0.0) - job.seconds(), 0.0) for job in self.running.values() if job.rule == rule
            )
        return seconds / max(cores, 1)

    def _usual(self, rule: str) -> float | None:
        spent = self._spent.get(rule)
        return sum(spent) / len(spent) if spent else self.earlier.get(rule)

    def remember(self) -> None:
        """Write the mean seconds by rule for the next run; a folder that cannot be written is no failure."""
        if not self._spent or not self._file.parent.is_dir():
            return
        known = {**self.earlier, **{rule: round(sum(s) / len(s), 3) for rule, s in self._spent.items()}}
        with contextlib.suppress(OSError):
            self._file.write_text(json.dumps(known, sort_keys=True))


def duration(seconds: float) -> str:
    """Return seconds as `7 s`, `3 min 20 s` or `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _word(key: str, value: str) -> str:
    return value if key in ("run", "recipe", "plan", "shard", "name") else f"{key} {value}"


def _read_durations(path: Path) -> dict[str, float]:
    try:
        loaded = json.loads(path.read_text())
        return {str(rule): float(seconds) for rule, seconds in loaded.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
