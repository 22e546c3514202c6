"""The downloader against a server that misbehaves byte by byte: every fault ends in its own reason."""

import asyncio
import gzip
import tracemalloc
from collections.abc import Iterator
from email.utils import formatdate
from itertools import pairwise
from typing import Any

import pytest

from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.checks import reasons
from pipeline.crawl_ingest.fetch.downloader import Downloader, Fetched, FetchError
from pipeline.crawl_ingest.fetch.network import ENVIRONMENT
from tests.crawl_ingest.server import Answer, RawServer, reply, say, serving

SETTINGS: dict[str, Any] = {"timeout": 1.0, "retries": 1, "max_bytes": 200_000}
GARBAGE = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nnot a chunk\r\n"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[RawServer]:
    with serving() as server:
        monkeypatch.setenv(ENVIRONMENT, server.resolve)
        yield server


def fetch(*urls: str, **settings: Any) -> list[Fetched | str]:
    """Fetch all addresses at once; a refusal or failure comes back as its reason."""

    async def one(downloader: Downloader, url: str) -> Fetched | str:
        try:
            return await downloader.fetch(url)
        except FetchError as error:
            reasons.status_of(error.reason)
            return error.reason

    async def every() -> list[Fetched | str]:
        async with Downloader(CrawlIngest(**{**SETTINGS, **settings})) as downloader:
            return await asyncio.gather(*(one(downloader, url) for url in urls))

    return asyncio.run(every())


def moved(target: str, **headers: str) -> Answer:
    return say(reply(status=302, Location=target, **headers))


FAULTS: dict[str, tuple[Answer, str]] = {
    "never-ending body": (say(reply(Content_Length="150000"), b"x", pause=0.05, forever=True), "timeout"),
    "never-ending headers": (say(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", pause=0.05, forever=True), "timeout"),
    "no answer": (say(pause=0), "timeout"),
    "fast endless body": (say(reply(Transfer_Encoding="chunked"), b"2000\r\n" + b"x" * 8192 + b"\r\n", forever=True),
                          "too_large"),
    "declared too large": (say(reply(b"x", Content_Length="99999999")), "too_large"),
    "gzip bomb": (say(reply(gzip.compress(b"\0" * 30_000_000), Content_Encoding="gzip")), "too_large"),
    "gzip garbage": (say(reply(b"not gzip", Content_Encoding="gzip")), "connection"),
    "unknown encoding of headers": (say(b"HTTP/1.1 200 OK\r\n\xff\xfe\x00\r\n\r\n", abort=True), "connection"),
    "chunked garbage": (say(GARBAGE, abort=True), "connection"),
    "shorter than declared": (say(reply(b"x", Content_Length="50"), abort=True), "connection"),
    "reset at once": (say(abort=True), "connection"),
    "not HTTP": (say(b"SSH-2.0-OpenSSH_9.2\r\n", abort=True), "connection"),
    "huge header": (say(reply(b"", X_Big="y" * 100_000)), "connection"),
    "teapot": (say(reply(b"", status=418)), "http_error"),
    "no content": (say(reply(b"", status=204)), "http_error"),
    "always busy": (say(reply(b"", status=429, Retry_After="0")), "http_error"),
    "redirect without a target": (say(reply(b"", status=302)), "http_error"),
    "redirect to itself": (moved("/fault"), "redirect_limit"),
    "redirect to a bad port": (moved("http://a.test:99999/x"), "scheme"),
    "redirect to an unclosed bracket": (moved("http://[::1/x"), "scheme"),
    "redirect to raw bytes": (moved("http://\xe9\xff.test/\xff"), "scheme"),
    "redirect to javascript": (moved("javascript:alert(1)"), "scheme"),
    "redirect to a forbidden path": (moved("http://b.test/secret"), "robots"),
    "opted out": (say(reply(b"x", X_Robots_Tag="max-snippet: 3, noai")), "robots_header"),
    "error page that opts out": (say(reply(b"", status=410, X_Robots_Tag="noindex")), "http_error"),
    "redirect that opts out": (moved("http://b.test/open", X_Robots_Tag="noai"), "robots_header"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_has_its_reason_and_the_crawl_goes_on(server: RawServer, name: str) -> None:
    answer, expected = FAULTS[name]
    server.answers["a.test/fault"] = answer
    server.answers["b.test/robots.txt"] = say(reply(b"User-agent: *\nDisallow: /secret\n"))
    bad, good = fetch("http://a.test/fault", "http://a.test/good")
    assert bad == expected
    assert isinstance(good, Fetched) and good.body == b"body"
    assert not server.asked["b.test/secret"]


def test_raw_bytes_in_a_redirect_are_text_that_can_be_stored(server: RawServer) -> None:
    server.answers["a.test/x"] = moved("/caf\xe9\xff")

    async def final() -> str:
        async with Downloader(CrawlIngest(**SETTINGS)) as downloader:
            return (await downloader.fetch("http://a.test/x")).final_url

    assert asyncio.run(final()).encode("utf-8").startswith(b"http://a.test/caf")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://[::1", "scheme"), ("http://a.test:bad/", "scheme"), ("http://", "scheme"), ("", "scheme"),
        ("nonsense", "scheme"), ("http://exa mple.test/x", "scheme"), ("data:image/png;base64,AAAA", "scheme"),
        ("http://user:secret@a.test/x", "scheme"), ("http://127.0.0.2/x", "private_address"),
        ("http://2130706434/x", "scheme"), ("http://0x7f000002/x", "private_address"),
        ("http://0177.0.0.2/x", "scheme"), ("http://[::ffff:127.0.0.2]/x", "private_address"),
        ("http://[64:ff9b::7f00:2]/x", "private_address"), ("http://localhost/x", "private_address"),
    ],
)  # fmt: skip
def test_bad_addresses_are_refused_without_a_request(server: RawServer, url: str, expected: str) -> None:
    bad, good = fetch(url, "http://a.test/good")
    assert bad == expected and isinstance(good, Fetched)
    assert set(server.asked) == {"a.test/robots.txt", "a.test/good"}


@pytest.mark.parametrize(
    "path", ["/a b.jpg", "/ünïcödé.jpg", "/%zz.jpg", "/" + "x" * 20_000, "/a.jpg#part", "/?q=1&q=2"]
)
def test_odd_paths_are_fetched(server: RawServer, path: str) -> None:
    assert isinstance(fetch(f"http://a.test{path}")[0], Fetched)


def test_case_and_default_port_name_the_same_host(server: RawServer) -> None:
    results = fetch("http://a.test/1", "http://A.TEST/2", "http://a.test:80/3", connections_per_host=1)
    assert all(isinstance(r, Fetched) for r in results)
    assert server.asked["a.test/robots.txt"] == 1 and server.most["a.test"] == 1


ROBOTS: dict[str, tuple[Answer | list[Answer], str | None]] = {
    "absent": (say(reply(status=404)), None),
    "forbidden itself": (say(reply(status=403)), None),
    "html": (say(reply(b"<html><body>Disallow: nothing</body></html>")), None),
    "empty": (say(reply()), None),
    "in two pieces": (say(reply(b"User-agent: *\n", Content_Length="31"), b"Disallow: /pict\r\n", pause=0.1), "robots"),
    "redirecting": (moved("http://b.test/robots.txt"), "robots"),
    "huge": (say(reply(b"User-agent: *\nDisallow: /pict\n" + b"#" * 3_000_000)), "robots"),
    "binary": (say(reply(b"\xff\xfe\0\0User-agent: *\nDisallow: /pict\n")), None),
    "busy once": ([say(reply(status=503)), say(reply())], None),
    "broken": (say(reply(status=500)), "robots_unreachable"),
    "told to wait": (say(reply(status=429)), "robots_unreachable"),
    "slow": (say(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", pause=0.05, forever=True), "robots_unreachable"),
    "reset": (say(abort=True), "robots_unreachable"),
    "redirect loop": (moved("/robots.txt"), "robots_unreachable"),
    "redirecting to a private address": (moved("http://127.0.0.2/robots.txt"), "robots_unreachable"),
    "asking for a pause of a day": (say(reply(b"User-agent: *\nCrawl-delay: 86400\n")), "crawl_delay"),
}


@pytest.mark.parametrize("name", ROBOTS)
def test_robots_txt_in_every_state(server: RawServer, name: str) -> None:
    server.answers["a.test/robots.txt"], expected = ROBOTS[name]
    server.answers["b.test/robots.txt"] = say(reply(b"User-agent: *\nDisallow: /pict\n"))
    (result,) = fetch("http://a.test/picture")
    assert isinstance(result, Fetched) if expected is None else result == expected
    assert server.asked["a.test/picture"] == (expected is None)


def test_a_dead_host_is_not_blamed_on_robots(server: RawServer) -> None:
    assert fetch("http://nowhere.invalid/x", retries=0)[0] == "connection"


def test_waiting_for_a_turn_does_not_count_as_slow(server: RawServer) -> None:
    server.answers["a.test/robots.txt"] = say(reply(b"User-agent: *\nCrawl-delay: 0.2\n"))
    results = fetch(*[f"http://a.test/{i}" for i in range(6)], timeout=0.5)
    assert all(isinstance(result, Fetched) for result in results), results
    times = sorted(server.times["a.test"])[1:]
    assert min(b - a for a, b in pairwise(times)) > 0.15


def test_waiting_for_a_connection_does_not_count_as_slow(server: RawServer) -> None:
    server.default = say(reply(b"", Content_Length="4"), b"bo", b"dy", pause=0.1)
    results = fetch(*[f"http://a.test/{i}" for i in range(8)], timeout=0.6, connections_per_host=1)
    assert all(isinstance(result, Fetched) for result in results), results
    assert server.most["a.test"] == 1


@pytest.mark.parametrize("header", ["1", formatdate(usegmt=True)])
def test_retry_after_holds_back_the_whole_host(server: RawServer, header: str) -> None:
    server.answers["a.test/busy"] = [say(reply(status=429, Retry_After=header)), say(reply(b"body"))]
    server.default = say(reply(b"body"), pause=0.02)
    busy, *others = fetch("http://a.test/busy", *[f"http://a.test/{i}" for i in range(12)], connections_per_host=2)
    assert isinstance(busy, Fetched) and all(isinstance(other, Fetched) for other in others)
    if header == "1":
        times = server.times["a.test"]
        assert max(b - a for a, b in pairwise(times)) > 0.9, "requests went on during the pause"


def test_a_host_in_trouble_is_asked_at_growing_and_uneven_intervals(server: RawServer) -> None:
    server.default = say(reply(b"", status=503))
    urls = [f"http://{host}.test/x" for host in "abcdef"]
    assert fetch(*urls, retries=2) == ["http_error"] * 6
    gaps = [[b - a for a, b in pairwise(server.times[f"{host}.test"][1:])] for host in "abcdef"]
    first, second = ([pair[i] for pair in gaps] for i in (0, 1))
    # Half of 0.5 s doubled each time, to all of it; a busy machine only adds.
    assert all(len(pair) == 2 for pair in gaps) and min(first) > 0.24 and min(second) > 0.49
    assert min(second) > min(first) and max(first) - min(first) > 0.02, "no jitter"


def test_retry_after_of_an_hour_is_not_cut_short(server: RawServer) -> None:
    server.answers["a.test/busy"] = say(reply(status=503, Retry_After="3600"))
    assert fetch("http://a.test/busy", retries=3) == ["http_error"]
    assert server.asked["a.test/busy"] == 1


def test_gzip_bomb_does_not_fill_memory(server: RawServer) -> None:
    server.answers["a.test/bomb"] = say(reply(gzip.compress(b"\0" * 200_000_000), Content_Encoding="gzip"))
    tracemalloc.start()
    try:
        assert fetch("http://a.test/bomb") == ["too_large"]
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_limits_of_every_host_hold_beside_each_other(server: RawServer) -> None:
    server.default = say(reply(b"body"), pause=0.02)
    urls = [f"http://{host}.test/{i}" for host in "abc" for i in range(10)]
    fetch(*urls, connections_per_host=2, connections=4)
    assert [server.most[f"{host}.test"] <= 2 for host in "abc"] == [True] * 3


def test_environment_proxies_and_credentials_are_not_used(server: RawServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    server.answers["a.test/first"] = say(reply(b"body", Set_Cookie="id=1"))
    assert isinstance(fetch("http://a.test/first")[0], Fetched)
    fetch("http://a.test/first", "http://a.test/second")
    assert not any("cookie" in head.lower() or "authorization" in head.lower() for head in server.heads)
