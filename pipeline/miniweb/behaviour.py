"""How the mini web misbehaves, fault by fault."""

from __future__ import annotations

import asyncio
import functools
import struct
import zlib
from contextlib import suppress

from aiohttp import web

HTML = "<html><body>This picture has moved.</body></html>"
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="200" height="200"><rect width="9" height="9"/></svg>'
HOPS = ("/hop", "/moved")
"""Prefixes of a moved image's path: the first leads to the second, the second to the image."""
_STATUS = {"404": 404, "403": 403, "410": 410}
_ONCE = {"429_once": 429, "503_once": 503}


async def misbehave(request: web.Request, fault: str, times: int, body: bytes) -> web.StreamResponse | None:
    """Return the faulty answer to the `times`-th request, or None where the plain image follows."""
    if fault in _STATUS:
        return web.Response(status=_STATUS[fault])
    if fault in _ONCE:
        return web.Response(status=_ONCE[fault], headers={"Retry-After": "1"}) if times == 1 else None
    simple = _simple(request, fault, body)
    if simple is not None:
        return simple
    if fault == "slow":
        return await _drip(request, body, pieces=4, pause=0.3)
    if fault == "endless":
        return await _drip(request, body[:100], pieces=10_000, pause=0.2)
    if fault == "oversized":
        return await _flood(request)
    if fault == "reset":
        return await _reset(request, body)
    return None


def _simple(request: web.Request, fault: str, body: bytes) -> web.Response | None:
    if fault == "truncated":
        return web.Response(body=body[: len(body) // 2], content_type="image/jpeg")
    if fault == "html":
        return web.Response(body=HTML.encode(), content_type="image/jpeg")
    if fault == "wrong_type":
        return web.Response(body=body, content_type="text/html")
    if fault == "zero_bytes":
        return web.Response(body=b"", content_type="image/jpeg")
    if fault == "svg":
        return web.Response(text=SVG, content_type="image/svg+xml")
    if fault == "bomb":
        return web.Response(body=png(20_000, 20_000), content_type="image/png")
    if fault == "icon":
        return web.Response(body=png(16, 16), content_type="image/png")
    if fault == "robots_header":
        return web.Response(body=body, content_type="image/jpeg", headers={"X-Robots-Tag": "noai, noimageai"})
    if fault == "redirect":
        return web.Response(status=302, headers={"Location": f"{HOPS[0]}{request.path}"})
    if fault == "redirect_loop":
        return web.Response(status=302, headers={"Location": request.path})
    return None


async def _drip(request: web.Request, body: bytes, pieces: int, pause: float) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "image/jpeg"})
    await response.prepare(request)
    size = max(1, -(-len(body) // min(pieces, len(body))))
    with suppress(ConnectionError):
        for index in range(pieces):
            await response.write(body[index * size : (index + 1) * size] or b"\0")
            await asyncio.sleep(pause)
    return response


async def _flood(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "image/jpeg"})
    await response.prepare(request)
    with suppress(ConnectionError):
        for _ in range(200):
            await response.write(b"\0" * 65536)
    return response


async def _reset(request: web.Request, body: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "image/jpeg", "Content-Length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.abort()
    return response


@functools.cache
def png(width: int, height: int) -> bytes:
    """Return a valid one-bit PNG of any size in a few kilobytes: rows of zeros compress to nothing."""
    row = b"\0" + b"\0" * -(-width // 8)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
