"""The processes that decode: `python -m pipeline.crawl_ingest.checks.decoder_process <handle of a socket>`.

The first one has everything imported and forks a child for each connection it is sent, so that a killed child costs
next to nothing. A child gets bytes and answers with the image to store or the reason it is none.
"""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import socket
import struct
import sys
import warnings

# Everything that accept opens: Pillow would import all of its forty readers at the first file that is no JPEG.
from PIL import BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

from pipeline.crawl_ingest.checks.image import IntakeError, accept

LIMITS = struct.Struct("!qqqd")
"""max_pixels, min_side, bytes of memory beyond what the process has, CPU seconds for one image."""
SIZE, SIZES = struct.Struct("!Q"), struct.Struct("!II")
HELLO = b"+"
_READERS = (BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin)


class _Limits:
    def __init__(self, max_pixels: int, min_side: int) -> None:
        self.max_pixels, self.min_side = max_pixels, min_side


def main() -> None:
    """Fork a child for each connection that arrives, until the crawl ends."""
    # Ctrl-C is the crawl's affair.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    # Decoders complain about what strangers send.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    with socket.socket(fileno=int(sys.argv[1])) as control:
        while True:
            packet, handles, _, _ = socket.recv_fds(control, LIMITS.size, 1)
            _wait_for_children(os.WNOHANG if packet else 0)
            if not packet:
                return
            if os.fork() == 0:
                control.close()
                _serve(socket.socket(fileno=handles[0]), *LIMITS.unpack(packet))
                os._exit(0)
            for handle in handles:
                os.close(handle)


def _wait_for_children(how: int) -> None:
    # Only the time of a child that was waited for is in the crawl's bill.
    try:
        while os.waitpid(-1, how)[0]:
            pass
    except ChildProcessError:
        pass


def _serve(connection: socket.socket, max_pixels: int, min_side: int, memory: int, seconds: float) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + memory,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limits = _Limits(max_pixels, min_side)
    connection.sendall(HELLO)
    while head := _received(connection, SIZE.size):
        data = _received(connection, *SIZE.unpack(head))
        used = resource.getrusage(resource.RUSAGE_SELF)
        # The timer is exact and its signal ends the process; the limit, whole seconds since the process began, stands
        # behind it.
        until = math.ceil(used.ru_utime + used.ru_stime + seconds) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (until, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        signal.setitimer(signal.ITIMER_PROF, seconds)
        about, stored = _judged(data, limits)
        signal.setitimer(signal.ITIMER_PROF, 0)
        text = json.dumps(about).encode()
        connection.sendall(SIZES.pack(len(text), len(stored)) + text + stored)


def _judged(data: bytes, limits: _Limits) -> tuple[dict[str, str | int], bytes]:
    try:
        image = accept(data, limits)
    except IntakeError as error:
        return {"reason": error.reason}, b""
    about: dict[str, str | int] = {
        "image_id": image.image_id,
        "width": image.width,
        "height": image.height,
        "phash": image.phash,
    }
    # Bytes that are stored as they came need not travel back.
    return about, b"" if image.data is data else image.data


def _received(connection: socket.socket, size: int) -> bytes:
    body = bytearray(size)
    view = memoryview(body)
    while view:
        count = connection.recv_into(view)
        if not count:
            return b""
        view = view[count:]
    return bytes(body)


def _address_space() -> int:
    try:
        with open("/proc/self/statm") as facts:
            return int(facts.read().split()[0]) * resource.getpagesize()
    except OSError:
        # A system without /proc: a generous guess keeps the limit one.
        return 2 << 30


if __name__ == "__main__":
    main()
