"""A fast server on loopback for bench/ingest.py: `/<number>.jpg` is a JPEG of its own. Prints its port.

python bench/image_server.py SIDE
"""

from __future__ import annotations

import asyncio
import io
import re
import sys

import numpy as np
from PIL import Image

_KEEP = 6000


class Images(asyncio.Protocol):
    """Answers requests on kept connections."""

    pictures: dict[int, bytes] = {}  # noqa: RUF012  one store for all connections
    side = 400

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._read = transport, b""

    def data_received(self, data: bytes) -> None:
        """Answer every complete request."""
        self._read += data
        while (end := self._read.find(b"\r\n\r\n")) >= 0:
            head, self._read = self._read[:end], self._read[end + 4 :]
            self._answer(head)

    def _answer(self, head: bytes) -> None:
        asked = re.match(rb"GET /(\d+)\.jpg", head)
        body = self._picture(int(asked[1])) if asked else b""
        status = b"200 OK" if asked else b"404 Not Found"
        kind = b"Content-Type: image/jpeg\r\n" if asked else b""
        close = re.search(rb"(?i)connection: close", head) is not None
        says = b"Connection: close\r\n" if close else b""
        length = str(len(body)).encode()
        self._transport.write(b"HTTP/1.1 %s\r\n%s%sContent-Length: %s\r\n\r\n%s" % (status, kind, says, length, body))
        if close:
            self._transport.close()

    def _picture(self, number: int) -> bytes:
        if number not in self.pictures:
            made = _jpeg(number, self.side)
            if len(self.pictures) >= _KEEP:
                return made
            self.pictures[number] = made
        return self.pictures[number]


def _jpeg(number: int, side: int) -> bytes:
    values = np.random.default_rng(number).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(values).resize((side, side * 3 // 4), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


async def _serve(side: int) -> None:
    Images.side = side
    server = await asyncio.get_running_loop().create_server(Images, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
