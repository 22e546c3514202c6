"""The mini web as a real HTTP server on loopback: virtual hosts, a search endpoint, and the web's faults."""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from pipeline.artifacts import write_text
from pipeline.miniweb.behaviour import HOPS, misbehave
from pipeline.miniweb.search import SearchEngine
from pipeline.miniweb.site import read_index

API = "api.miniweb.test"
PATTERN = "*.miniweb.test"
ROBOTS = {
    "private.miniweb.test": "User-agent: *\nDisallow: /private/\n",
    "blog.miniweb.test": "User-agent: *\nCrawl-delay: 0.01\nAllow: /\n",
}

# Loaded before any fork: a child of a process with threads must not load libraries.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class MiniWebServer:
    """Handlers and the memory of what has been asked."""

    def __init__(self, root: Path) -> None:
        self.root = root
        entries = read_index(root)
        self.by_url = {entry["url"]: entry for entry in entries}
        self.engine = SearchEngine(entries)
        self.asked: Counter[str] = Counter()
        self._searches = 0

    def application(self) -> web.Application:
        """Return the aiohttp application."""
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self.handle)
        return app

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer by host and path."""
        host = request.host.split(":")[0]
        address = f"http://{host}{request.path}"
        if host == API and request.path == "/_log":
            return web.json_response(dict(self.asked))
        key = f"{address}?{request.query_string}" if host == API else address
        self.asked[key] += 1
        if request.path == "/robots.txt":
            return self._robots(host)
        if host == API:
            return self._search(request, first=self.asked[key] == 1)
        entry = self.by_url.get(address)
        if entry is None:
            return self._moved(host, request.path)
        if entry["fault"]:
            answer = await misbehave(request, entry["fault"], self.asked[address], self._bytes(entry))
            if answer is not None:
                return answer
        return self._image(entry)

    def _moved(self, host: str, path: str) -> web.Response:
        first, last = HOPS
        entry = self.by_url.get(f"http://{host}{path.removeprefix(last)}")
        if path.startswith(f"{last}/") and entry:
            return self._image(entry)
        if path.startswith(f"{first}/"):
            return web.Response(status=302, headers={"Location": last + path.removeprefix(first)})
        return web.Response(status=404, text="not here")

    def _robots(self, host: str) -> web.Response:
        if host == "broken.miniweb.test":
            return web.Response(status=503)
        if host in ROBOTS:
            return web.Response(text=ROBOTS[host])
        return web.Response(status=404)

    def _bytes(self, entry: dict[str, Any]) -> bytes:
        return (self.root / "images" / entry["file"]).read_bytes()

    def _image(self, entry: dict[str, Any]) -> web.Response:
        return web.Response(body=self._bytes(entry), content_type="image/jpeg")

    def _search(self, request: web.Request, first: bool) -> web.Response:
        # Every 25th new query is told to wait, as a real API does when asked too fast.
        self._searches += first
        if first and self._searches % 25 == 0:
            return web.json_response({"detail": "too many requests"}, status=429, headers={"Retry-After": "1"})
        try:
            page, size = (int(request.query.get(key, usual)) for key, usual in (("page", 1), ("page_size", 20)))
        except ValueError:
            page = size = 0
        if page < 1 or size < 1:
            return web.json_response({"detail": "page and page_size must be positive integers"}, status=400)
        size = min(size, 50)
        found = self.engine.search(request.query.get("q", ""))
        pages = max(1, -(-len(found) // size))
        if page > pages:
            return web.json_response({"detail": "Invalid page."}, status=404)
        answer = {"result_count": len(found), "page_count": pages, "page_size": size, "page": page}
        results = [self._openverse(entry) for entry in found[(page - 1) * size : page * size]]
        return web.json_response({**answer, "results": results})

    def _openverse(self, entry: dict[str, Any]) -> dict[str, Any]:
        name = entry["file"].removesuffix(".jpg")
        licence = entry["licence"]
        version = "1.0" if licence == "cc0" else "4.0"
        deed = "publicdomain/zero" if licence == "cc0" else f"licenses/{licence}"
        return {
            "id": name,
            "title": entry["title"],
            "foreign_landing_url": f"http://{entry['host']}/page/{name}",
            "url": entry["url"],
            "creator": entry["creator"],
            "creator_url": f"http://{entry['host']}/people/{entry['creator'].replace(' ', '-')}",
            "license": licence,
            "license_version": version,
            "license_url": f"https://creativecommons.org/{deed}/{version}/",
            "provider": "miniweb",
            "source": "miniweb",
            "filesize": (self.root / "images" / entry["file"]).stat().st_size,
            "filetype": "jpg",
            "tags": [{"name": tag} for tag in entry["tags"]],
            "width": entry["width"],
            "height": entry["height"],
            "mature": False,
            "thumbnail": f"http://{API}/v1/images/{name}/thumb/",
        }


@contextmanager
def serving(root: Path) -> Iterator[tuple[MiniWebServer, str]]:
    """Serve the site from a thread on an ephemeral loopback port.

    Yields the server and the resolver line `*.miniweb.test=127.0.0.1:PORT` (environment PIPELINE_RESOLVE).
    """
    server = MiniWebServer(root)
    loop = asyncio.new_event_loop()
    started: Future[int] = Future()
    # A client that hangs on to an endless body must not hold up the end.
    runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=0.2)

    async def start() -> int:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=512).start()
        return int(runner.addresses[0][1])

    def run() -> None:
        asyncio.set_event_loop(loop)
        try:
            started.set_result(loop.run_until_complete(start()))
            loop.run_forever()
        except OSError as error:
            started.set_exception(error)
        finally:
            loop.run_until_complete(runner.cleanup())
            loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    port = started.result(30)
    try:
        yield server, f"{PATTERN}=127.0.0.1:{port}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


def serve_while(root: Path, command: Sequence[str], log: Path | None = None) -> int:
    """Serve the site while `command` runs and return its exit code, 128 + n if signal n ended it.

    The command finds the site through the environment variable PIPELINE_RESOLVE, and knows it from another
    one by PIPELINE_SITE. It dies with this process
    on Linux (prctl PR_SET_PDEATHSIG), even if that is killed; TERM and INT are passed on. `log` receives the
    number of requests per address as JSON. Raises ValueError if the command cannot be started.
    """
    with serving(root) as (server, resolve):
        site = hashlib.sha256((root / "index.json").read_bytes()).hexdigest()[:16]
        environment = {**os.environ, "PIPELINE_RESOLVE": resolve, "PIPELINE_SITE": site}
        words = [_python(command[0]), *command[1:]]
        try:
            child = subprocess.Popen(words, env=environment, preexec_fn=_die_with_parent)
        except OSError as error:
            raise ValueError(f"cannot run `{command[0]}`: {error.strerror}") from None
        with _passing_on(child):
            code = child.wait()
        if log is not None:
            write_text(log, json.dumps(dict(server.asked), indent=1, sort_keys=True))
    return code if code >= 0 else 128 - code


@contextmanager
def _passing_on(child: subprocess.Popen[bytes]) -> Iterator[None]:
    passed = (signal.SIGTERM, signal.SIGINT)
    before = {n: signal.signal(n, lambda received, _: child.send_signal(received)) for n in passed}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _python(name: str) -> str:
    return sys.executable if name in ("python", "python3") else name


def _die_with_parent() -> None:
    if _LIBC is not None:
        pr_set_pdeathsig = 1
        _LIBC.prctl(pr_set_pdeathsig, signal.SIGKILL)
