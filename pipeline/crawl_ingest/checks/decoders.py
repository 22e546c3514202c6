"""Decoding in processes of their own with a limit on time and memory each: what kills a process costs one image."""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pipeline
from pipeline.crawl_ingest.checks.decoder_process import HELLO, LIMITS, SIZE, SIZES
from pipeline.crawl_ingest.checks.image import Accepted, IntakeError, Limits
from pipeline.crawl_ingest.faults import MachineError

CPU_SECONDS = 10.0
"""For one image; sixteen megapixels of any format take two or three."""
WALL_SECONDS = 600.0
"""For one image, on a machine with other work; a process that hangs uses no CPU time."""
BYTES_PER_PIXEL, SPARE_BYTES = 24, 256 << 20
"""Memory of a process beyond its start: several copies of the largest image, and room for tables."""
PROCESSES = max(2, min(4, os.cpu_count() or 2))


class Decoders:
    """A few processes that decode, started when they are needed; for many tasks of one event loop at once."""

    def __init__(self, settings: Limits) -> None:
        memory = SPARE_BYTES + BYTES_PER_PIXEL * settings.max_pixels
        self._limits = LIMITS.pack(settings.max_pixels, settings.min_side, memory, CPU_SECONDS)
        self._free = asyncio.Semaphore(PROCESSES)
        self._idle: list[socket.socket] = []

    def prepare(self) -> None:
        """Let the process that forks the others start now, while the first answers are on their way."""
        _forker()

    async def accept(self, data: bytes) -> Accepted:
        """Return the image to store. Raises IntakeError, or MachineError if no process can be started."""
        if not data:
            raise IntakeError("empty")
        async with self._free:
            connection = self._idle.pop() if self._idle else await self._started()
            try:
                async with asyncio.timeout(WALL_SECONDS):
                    image = await _asked(connection, data)
            except (EOFError, OSError, TimeoutError):
                connection.close()
                raise IntakeError("decoder_limit") from None
            except IntakeError:
                self._idle.append(connection)
                raise
            except BaseException:
                connection.close()
                raise
            self._idle.append(connection)
            return image

    async def _started(self) -> socket.socket:
        for _ in range(2):
            connection = _forker().connect(self._limits)
            try:
                if await _received(connection, len(HELLO)) == HELLO:
                    return connection
            except (EOFError, OSError):
                connection.close()
        raise MachineError("the processes that decode images do not start; is there memory left on this machine?")

    def close(self) -> None:
        """End the processes."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()


class _Forker:
    """The process that forks the others: it starts once in this process and ends with it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        # Strangers' bytes are decoded without our keys in the environment, and without a crowd of threads.
        environment = {"PYTHONPATH": str(Path(pipeline.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
        environment |= {"OPENBLAS_NUM_THREADS": "1", "PATH": os.environ.get("PATH", "")}
        module = "pipeline.crawl_ingest.checks.decoder_process"
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, str(theirs.fileno())],
                pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            )  # fmt: skip
        self._control, self.owner = ours, os.getpid()

    def connect(self, limits: bytes) -> socket.socket:
        """Return a connection to a new process. Raises OSError if this one is gone."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            socket.send_fds(self._control, [limits], [theirs.fileno()])
        return ours

    @property
    def alive(self) -> bool:
        """Whether the process runs and is this process's own."""
        return self.owner == os.getpid() and self._process.poll() is None

    def close(self) -> None:
        """End the process, unless this one is a fork of the one that started it."""
        self._control.close()
        if self.owner == os.getpid():
            try:
                self._process.wait(2)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


_running: list[_Forker] = []
_starting = threading.Lock()
"""Two threads may crawl at once."""


def _forker() -> _Forker:
    with _starting:
        if not _running or not _running[0].alive:
            if _running:
                _running.pop().close()
            else:
                atexit.register(end_processes)
            _running.append(_Forker())
        return _running[0]


def end_processes() -> None:
    """End what later crawls of this process would use again; from then on its time is in this process's bill."""
    with _starting:
        while _running:
            _running.pop().close()


async def _asked(connection: socket.socket, data: bytes) -> Accepted:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(connection, SIZE.pack(len(data)) + data)
    # Nearly every answer comes in one piece.
    answer = await loop.sock_recv(connection, 65536)
    if len(answer) < SIZES.size:
        answer += await _received(connection, SIZES.size - len(answer), answer)
    text_size, size = SIZES.unpack_from(answer)
    text_end = SIZES.size + text_size
    if (missing := text_end + size - len(answer)) > 0:
        answer += await _received(connection, missing, answer)
    about = json.loads(answer[SIZES.size : text_end])
    if "reason" in about:
        raise IntakeError(str(about["reason"]))
    stored = answer[text_end:] if size else data
    return Accepted(stored, str(about["image_id"]), int(about["width"]), int(about["height"]), str(about["phash"]))


async def _received(connection: socket.socket, size: int, before: bytes = b"+") -> bytes:
    """Return so many bytes. Raises EOFError if the process is gone, also when nothing came `before`."""
    loop, body = asyncio.get_running_loop(), bytearray(size)
    view = memoryview(body)
    while view:
        count = await loop.sock_recv_into(connection, view) if before else 0
        if not count:
            raise EOFError
        view = view[count:]
    return bytes(body)
