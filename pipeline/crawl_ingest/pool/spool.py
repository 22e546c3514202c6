"""Accepted bytes on their way into a shard: appended to one file per run, found by position."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

SUFFIX = ".bytes"
MAX_HANDLES = 32


class Place(NamedTuple):
    """Where bytes lie: a file under the pool's folder (a segment or a shard's tar), position and size."""

    file: str
    position: int
    size: int


class Segment:
    """A file that one run appends to; locked as long as it does."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = f"{time.time_ns()}-{os.getpid()}{SUFFIX}"
        self.path = folder / self.name
        self._handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        fcntl.flock(self._handle, fcntl.LOCK_EX)
        self._end = 0

    def append(self, data: bytes) -> int:
        """Write bytes at the end; return their position."""
        position, rest = self._end, memoryview(data)
        while rest:
            written = os.pwrite(self._handle, rest, self._end)
            self._end, rest = self._end + written, rest[written:]
        return position

    def close(self) -> None:
        """Close the file, which ends the lock."""
        os.close(self._handle)


class Handles:
    """Open files, the last used ones: a shard reads thousands of images from a few files."""

    def __init__(self) -> None:
        self._open: dict[str, int] = {}

    def open(self, path: str) -> int:
        """Return a handle for reading. Raises FileNotFoundError, also for a file that was deleted or replaced."""
        handle = self._open.pop(path, None)
        if handle is not None and os.fstat(handle).st_ino != os.stat(path).st_ino:
            os.close(handle)
            handle = None
        if handle is None:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._open[path] = handle
        if len(self._open) > MAX_HANDLES:
            os.close(self._open.pop(next(iter(self._open))))
        return handle

    def close(self) -> None:
        """Close every file."""
        for handle in self._open.values():
            os.close(handle)
        self._open.clear()


@contextmanager
def unused(path: Path) -> Iterator[bool]:
    """Yield whether no run appends to a segment."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(handle)
