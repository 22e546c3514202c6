"""A server on loopback whose every answer is made from a seed: headers, redirects, robots.txt, bodies, API pages."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from bench.fuzz_intake import files, mutated

HOSTS = ["xn--", "[h.test]@", "a" * 70, "127.0.0.1", "[::ffff:10.0.0.1]", "[::1", "h1.test:0", "2130706433", "é"]
ROBOTS_LINES = [
    "User-agent: *", "User-agent: web-continual-segmentation", "Disallow: /private", "Allow: /", "Disallow:",
    "Disallow: /*?*=*$", "Crawl-delay: 0.01", "Crawl-delay: nan", "Sitemap: x", "User-agent:", "\0", "#",
]  # fmt: skip
TAGS = ["all", "noai", "otherbot: noai", "noindex;", '"none"', "max-snippet: 3", "unavailable_after: x, 1:2", ":", "é"]


def serve(out: Connection, seed: int) -> None:
    """Answer until killed; send the port first."""

    async def run() -> None:
        answers = Answers(seed)
        server = await asyncio.start_server(answers.serve, "127.0.0.1", 0, backlog=512)
        out.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


class Answers:
    """What each host and path is answered with; the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._seed, self._files = seed, files()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            while not writer.transport.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                path = head.split(" ", 2)[1]
                host = next((line[6:] for line in head.split("\r\n") if line.lower().startswith("host: ")), "")
                answer, whole = self._answer(random.Random(f"{self._seed}/{host}{path}"), host, path)
                writer.write(answer)
                await writer.drain()
                if not whole:
                    writer.transport.abort()
        writer.close()

    def _answer(self, rng: random.Random, host: str, path: str) -> tuple[bytes, bool]:
        if path.startswith("/api"):
            return _message(200, [], json.dumps(page(rng)).encode()), True
        if path.startswith("/robots.txt"):
            return self._robots(rng)
        kind = rng.random()
        if kind < 0.05:
            return rng.randbytes(rng.randint(0, 300)), False
        if kind < 0.25:
            return _message(
                rng.choice((301, 302, 303, 307, 308)), [("Location", _location(rng)), *_headers(rng)], b""
            ), True
        if kind < 0.30:
            return _message(rng.choice((204, 400, 404, 410, 429, 500, 503, 999)), _headers(rng), b"x"), True
        body = mutated(self._files, rng) if rng.random() < 0.7 else rng.choice(self._files)
        headers = _headers(rng)
        if rng.random() < 0.1:
            headers.append(("Content-Encoding", rng.choice(("gzip", "deflate", "br", "identity, gzip"))))
            body = gzip.compress(body) if rng.random() < 0.7 else body
        message = _message(200, headers, body)
        return (message[: rng.randrange(len(message))], False) if rng.random() < 0.08 else (message, True)

    def _robots(self, rng: random.Random) -> tuple[bytes, bool]:
        kind = rng.random()
        if kind < 0.4:
            return _message(404, [], b""), True
        if kind < 0.5:
            return _message(rng.choice((301, 500, 403)), [("Location", _location(rng))], b""), True
        if kind < 0.55:
            return rng.randbytes(200), False
        lines = [rng.choice(ROBOTS_LINES) for _ in range(rng.choice((3, 10, 3000)))]
        text = rng.choice(("\n", "\r\n", "\r")).join(lines)
        return _message(
            200, _headers(rng), text.encode(rng.choice(("utf-8", "utf-8-sig", "utf-16", "utf-16-be")))
        ), True


def page(rng: random.Random) -> Any:
    """Return a page of results in Openverse's shape with wrong values in some of its fields."""
    odd: Sequence[Any] = (None, [], {}, True, -1, 1e308, "", "x" * 5000, "\ud800", {"a": [1]}, "=1", "<b>")
    fields = ("url", "title", "creator", "license", "license_version", "source", "foreign_landing_url")
    items: list[Any] = []
    for number in range(rng.randint(0, 20)):
        item = {name: f"{name}{number}" for name in fields} | {"url": f"http://h{rng.randrange(50)}.test/{number}"}
        for name in rng.sample(fields, rng.choice((0, 0, 1, 3))):
            item[name] = rng.choice(odd)
        items.append(item if rng.random() < 0.95 else rng.choice(odd))
    answer: Any = {"results": items, "page_count": rng.choice((1, 3, 10**9, float("inf"), float("nan"), "2", None, []))}
    return answer if rng.random() < 0.9 else rng.choice((items, None, {"results": rng.choice(odd)}))


def _location(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.5:
        return f"/{rng.randrange(10**6)}"
    if kind < 0.8:
        return f"http://{rng.choice(HOSTS)}/{rng.randrange(100)}"
    return "".join(chr(rng.choice((*range(32, 127), 160, 233, 255))) for _ in range(rng.choice((1, 10, 200, 7000))))


def _headers(rng: random.Random) -> list[tuple[str, str]]:
    headers = []
    if rng.random() < 0.15:
        headers.append(("X-Robots-Tag", ", ".join(rng.choice(TAGS) for _ in range(rng.randint(1, 4)))))
    if rng.random() < 0.1:
        headers.append(("Retry-After", rng.choice(("0", "nan", "9" * 20, "Mon, 01 Jan 0001 00:00:00 +9999", "²"))))
    if rng.random() < 0.1:
        headers.append(("Content-Type", rng.choice(("text/html", "image/", ";;;", "x" * 3000))))
    if rng.random() < 0.03:
        headers.append(("Content-Length", rng.choice(("0", "-1", "99999999", "1e3"))))
    return headers


def _message(status: int, headers: Sequence[tuple[str, str]], body: bytes) -> bytes:
    lines = [f"HTTP/1.1 {status} Anything", *(f"{name}: {value}" for name, value in headers)]
    if not any(name == "Content-Length" for name, _ in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body
