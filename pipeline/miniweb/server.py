"""The mini web as a real HTTP server on loopback: virtual hosts, a search endpoint, and the web's faults."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from pipeline.miniweb.behaviour import misbehave
from pipeline.miniweb.search import SearchEngine
from pipeline.miniweb.site import read_index

API = "api.miniweb.test"
PATTERN = "*.miniweb.test"
ROBOTS = {
    "private.miniweb.test": "User-agent: *\nDisallow: /private/\n",
    "blog.miniweb.test": "User-agent: *\nCrawl-delay: 0.01\nAllow: /\n",
}


class MiniWebServer:
    """Handlers and the memory of what has been asked."""

    def __init__(self, root: Path) -> None:
        self.root = root
        entries = read_index(root)
        self.by_url = {entry["url"]: entry for entry in entries}
        self.engine = SearchEngine(entries)
        self.asked: Counter[str] = Counter()

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
        if entry is None and request.path.startswith("/moved/"):
            entry = self.by_url.get(f"http://{host}/{request.path.removeprefix('/moved/')}")
            return self._image(entry) if entry else web.Response(status=404)
        if entry is None:
            return web.Response(status=404, text="not here")
        if entry["fault"]:
            answer = await misbehave(request, entry["fault"], self.asked[address], self._bytes(entry))
            if answer is not None:
                return answer
        return self._image(entry)

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
        if first and len(self.asked) % 25 == 0:
            return web.json_response({"detail": "too many requests"}, status=429, headers={"Retry-After": "1"})
        query = request.query.get("q", "")
        page, size = int(request.query.get("page", 1)), min(int(request.query.get("page_size", 20)), 50)
        found = self.engine.search(query)
        pages = max(1, -(-len(found) // size))
        if page > pages:
            return web.json_response({"detail": "Invalid page."}, status=404)
        results = [_openverse(entry) for entry in found[(page - 1) * size : page * size]]
        return web.json_response(
            {
                "result_count": len(found),
                "page_count": pages,
                "page_size": size,
                "page": page,
                "results": results,
            }
        )


def _openverse(entry: dict[str, Any]) -> dict[str, Any]:
    name = entry["file"].removesuffix(".jpg")
    return {
        "id": name,
        "title": entry["title"],
        "foreign_landing_url": f"http://{entry['host']}/page/{name}",
        "url": entry["url"],
        "creator": entry["creator"],
        "license": entry["licence"],
        "license_version": "4.0",
        "provider": "miniweb",
        "source": "miniweb",
        "tags": [{"name": tag} for tag in entry["tags"]],
        "width": entry["width"],
        "height": entry["height"],
        "mature": False,
    }


@contextmanager
def serving(root: Path) -> Iterator[tuple[MiniWebServer, str]]:
    """Serve the site from a thread on an ephemeral loopback port.

    Yields the server and the resolver line `*.miniweb.test=127.0.0.1:PORT` (environment PIPELINE_RESOLVE).
    """
    server = MiniWebServer(root)
    loop = asyncio.new_event_loop()
    ready = threading.Event()
    port: list[int] = []
    runner = web.AppRunner(server.application(), access_log=None)

    async def start() -> None:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=512)
        await site.start()
        port.append(runner.addresses[0][1])
        ready.set()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(start())
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    ready.wait(10)
    try:
        yield server, f"{PATTERN}=127.0.0.1:{port[0]}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


def serve_while(root: Path, command: Sequence[str], log: Path | None = None) -> int:
    """Serve the site while `command` runs and return its exit code.

    The command finds the site through the environment variable PIPELINE_RESOLVE. It dies with this process
    on Linux, even if that is killed; TERM and INT are passed on.
    """
    with serving(root) as (server, resolve):
        environment = {**os.environ, "PIPELINE_RESOLVE": resolve}
        child = subprocess.Popen([_python(command[0]), *command[1:]], env=environment, preexec_fn=_die_with_parent)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda received, _: child.send_signal(received))
        code = child.wait()
        if log is not None:
            log.write_text(json.dumps(dict(server.asked), indent=1, sort_keys=True))
    return code if code >= 0 else 128 - code


def _python(name: str) -> str:
    return sys.executable if name in ("python", "python3") else name


def _die_with_parent() -> None:
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
