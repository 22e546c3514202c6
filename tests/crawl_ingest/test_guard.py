"""The guard against private addresses and the downloader's manners, against a small server of our own."""

import asyncio
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web

from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.fetch.downloader import Downloader, Fetched, FetchError
from pipeline.crawl_ingest.fetch.network import ENVIRONMENT

TARGETS = {
    "loopback": "http://127.0.0.2:{port}/x", "literal6": "http://[::1]:{port}/x", "metadata": "http://169.254.169.254/x",
    "decimal": "http://2130706434:{port}/x", "octal": "http://0177.0.0.2:{port}/x", "mapped": "http://[::ffff:127.0.0.2]/x",
    "file": "file:///etc/passwd", "ftp": "ftp://a.test/x", "private": "http://10.0.0.1/x", "localhost": "http://localhost:{port}/x",
}  # fmt: skip


class Server:
    """Counts requests and how many of them run at once."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.running = self.most = self.port = 0
        self.times: list[float] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked[request.path] += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            return await self._answer(request)
        finally:
            self.running -= 1

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/to/"):
            target = TARGETS[request.path.removeprefix("/to/")].format(port=self.port)
            return web.Response(status=302, headers={"Location": target})
        if request.path == "/robots.txt":
            return web.Response(text="User-agent: *\nDisallow: /secret\n")
        if request.path.startswith("/flaky") and self.asked[request.path] < 3:
            return web.Response(status=503, headers={"Retry-After": "0"})
        if request.path == "/down":
            return web.Response(status=500)
        if request.path == "/header":
            assert request.headers["User-Agent"].startswith("web-continual-segmentation")
            assert "Cookie" not in request.headers
        self.times.append(time.monotonic())
        await asyncio.sleep(0.02)
        response = web.Response(body=b"body" * 100)
        response.set_cookie("tracker", "1")
        return response


@pytest.fixture
def server() -> Iterator[Server]:
    state, loop, ready = Server(), asyncio.new_event_loop(), threading.Event()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", state.handle)
    runner = web.AppRunner(app)

    async def start() -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        state.port = runner.addresses[0][1]

    def run() -> None:
        loop.run_until_complete(start())
        # Only a loop that runs for ever can be stopped.
        loop.call_soon(ready.set)
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    ready.wait(5)
    os.environ[ENVIRONMENT] = f"*.test=127.0.0.1:{state.port}"
    yield state
    del os.environ[ENVIRONMENT]
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)


def fetch(*urls: str, **settings: Any) -> list[Fetched | str]:
    """Fetch all addresses at once; a refusal or failure comes back as its reason."""

    async def one(downloader: Downloader, url: str) -> Fetched | str:
        try:
            return await downloader.fetch(url)
        except FetchError as error:
            return error.reason

    async def every() -> list[Fetched | str]:
        values: dict[str, Any] = {"timeout": 3.0, "retries": 2, **settings}
        async with Downloader(CrawlIngest(**values)) as downloader:
            return await asyncio.gather(*(one(downloader, url) for url in urls))

    return asyncio.run(every())


@pytest.mark.parametrize("target", [t for t in TARGETS if t not in ("file", "ftp")])
def test_redirect_to_a_private_address_is_refused(server: Server, target: str) -> None:
    assert fetch(f"http://a.test/to/{target}")[0] in ("private_address", "scheme")
    assert not server.asked["/x"]


@pytest.mark.parametrize("target", ["file", "ftp"])
def test_redirect_to_another_scheme_is_refused(server: Server, target: str) -> None:
    assert fetch(f"http://a.test/to/{target}") == ["scheme"]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.3/x", "http://[::1]/x", "http://169.254.169.254/latest", "gopher://x/"]
)
def test_private_and_odd_addresses_are_refused(server: Server, url: str) -> None:
    assert fetch(url)[0] in ("private_address", "scheme")


def test_honest_agent_no_cookies_and_body(server: Server) -> None:
    results = fetch("http://a.test/header", "http://a.test/other")
    assert all(isinstance(r, Fetched) and r.body == b"body" * 100 for r in results)


def test_robots_once_per_host_and_obeyed(server: Server) -> None:
    results = fetch(*[f"http://a.test/{i}" for i in range(6)], "http://a.test/secret/x")
    assert results[-1] == "robots" and server.asked["/robots.txt"] == 1 and not server.asked["/secret/x"]


def test_retries_until_it_works_and_gives_up(server: Server) -> None:
    good, bad = fetch("http://a.test/flaky", "http://a.test/down", retries=2)
    assert isinstance(good, Fetched) and server.asked["/flaky"] == 3
    assert bad == "http_error" and server.asked["/down"] == 3


def test_byte_cap(server: Server) -> None:
    assert fetch("http://a.test/big", max_bytes=399) == ["too_large"]
    assert isinstance(fetch("http://a.test/big", max_bytes=400)[0], Fetched)


def test_connections_and_rate_are_limited(server: Server) -> None:
    fetch(*[f"http://a.test/{i}" for i in range(30)], connections_per_host=3, requests_per_second=50.0)
    assert server.most <= 3
    spans = [b - a for a, b in zip(server.times, server.times[10:], strict=False)]
    assert min(spans) > (10 - 3) / 50 * 0.8, "ten more requests within less than their share of a second"
