"""Pace and connections of one host, shared by every crawl of this user on this machine.

The turn of the next request lies in a small file per host, and each connection holds a lock file of its own, so that
two shards crawled at once are together as slow as one. Locks end with their process: a kill -9 leaves nothing held.
Other machines are not seen: there, give every machine hosts of its own.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import random
import struct
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from pipeline.crawl_ingest.fetch.crew import away, taken
from pipeline.crawl_ingest.fetch.network import ENVIRONMENT

FOLDER = "PIPELINE_HOSTS"
"""Environment variable naming the folder of the files; one in the temporary folder by default."""
FORGOTTEN = 3600.0
"""Seconds; a turn further away than this was written before a restart of the clock."""


class Pace:
    """Turns of one host: at most one request per `gap` seconds after a burst of `burst`, `slots` at a time.

    The turns follow the generic cell rate algorithm: the file holds the moment at which the host is rested.
    """

    def __init__(self, host: str, gap: float, burst: float, slots: int) -> None:
        # One name on two mini webs is two hosts.
        name = hashlib.sha256(f"{host}\0{os.environ.get(ENVIRONMENT, '')}".encode()).hexdigest()[:24]
        self._file = _folder() / name
        self._gap, self._slack, self._slots = gap, (burst - 1) * gap, slots
        self._queue, self._free = asyncio.Lock(), asyncio.Semaphore(slots)
        self._held: set[int] = set()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[None]:
        """Hold one of the host's connections."""
        async with taken(self._free):
            while (slot := self._lock_slot()) is None:
                async with away():
                    await asyncio.sleep(random.uniform(0.01, 0.04))
            number, handle = slot
            self._held.add(number)
            try:
                yield
            finally:
                self._held.remove(number)
                os.close(handle)

    async def turn(self) -> None:
        """Wait for the host's next turn."""
        # One waiter per process reserves at a time: a killed process leaves one turn unused at most.
        async with taken(self._queue):
            with _moment(self._file) as moment:
                wait = moment.value - self._slack - moment.now
                moment.value = max(moment.value, moment.now) + self._gap
            if wait <= 0:
                return
            async with away():
                await asyncio.sleep(wait)
            if not self._slack:
                # Woken late, or late back in the crew: without a burst the gap counts from now.
                with _moment(self._file) as moment:
                    moment.value = max(moment.value, moment.now + self._gap)

    def _lock_slot(self) -> tuple[int, int] | None:
        for number in range(self._slots):
            # Our own locks need not be asked for: the system's answer costs more.
            if number in self._held:
                continue
            handle = os.open(f"{self._file}.{number}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return number, handle
            except BlockingIOError:
                os.close(handle)
        return None

    def rest(self, seconds: float) -> None:
        """Let no crawl on this machine begin a request for so long."""
        with _moment(self._file) as moment:
            moment.value = max(moment.value, moment.now + seconds + self._slack)


class _Moment:
    def __init__(self, value: float, now: float) -> None:
        self.now = now
        self.value = value if value < now + FORGOTTEN else 0.0


@contextmanager
def _moment(file: Path) -> Iterator[_Moment]:
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        held = os.pread(handle, 8, 0)
        # The monotonic clock is the same one in every process of a machine.
        moment = _Moment(struct.unpack("d", held)[0] if len(held) == 8 else 0.0, time.monotonic())
        yield moment
        os.pwrite(handle, struct.pack("d", moment.value), 0)
    finally:
        os.close(handle)


def _folder() -> Path:
    chosen = os.environ.get(FOLDER)
    folder = Path(chosen) if chosen else Path(tempfile.gettempdir()) / f"web-continual-segmentation-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise ValueError(f"{folder} belongs to another user; set {FOLDER} to a folder of your own")
    return folder
