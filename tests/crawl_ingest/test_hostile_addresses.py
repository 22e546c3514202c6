"""Whatever an address, a header or a body does, the result is one row with a reason."""

import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.crawl_ingest.checks import reasons
from pipeline.crawl_ingest.fetch.addresses import parse
from pipeline.crawl_ingest.fetch.host import FetchError
from tests.crawl_ingest.listed import crawl
from tests.crawl_ingest.pool import jpeg
from tests.crawl_ingest.server import RawServer, reply, say, serving
from tests.crawl_ingest.test_guard import fetch as fetch_all

HOSTS = [
    "xn--",
    "xn--a",
    "[h.test]@",
    "a" * 70 + ".test",
    "a.test:0",
    "[v1.a]",
    "a..test",
    "[::1",
    "%41.test",
    "٣.test",
]


PIECES = st.sampled_from(
    ["http://", "https:", "//", "[", "]", "@", ":", "xn--", "a.test", "/", "?", "#", "%", "::1", "\\", "\0", "é"]
)


@given(st.lists(PIECES | st.text(max_size=6), max_size=9).map("".join), st.booleans())
@example("http://xn--/x", False)
@example("http://[h.test]@/x", True)
def test_an_address_is_parsed_or_refused(address: str, redirect: bool) -> None:
    try:
        url = parse(address, parse("http://a.test/b/c") if redirect else None)
    except FetchError as error:
        assert error.reason in ("scheme", "long_address")
        error.url.encode()
    else:
        assert url.host and url.port and url.scheme in ("http", "https") and len(str(url)) <= 32_768


def test_every_hostile_address_is_one_row_from_a_list_and_from_a_redirect(
    raw_server: RawServer, tmp_path: Path
) -> None:
    raw_server.answers["a.test/good"] = say(reply(jpeg(0)))
    urls = [f"http://{host}/x" for host in HOSTS] + ["http://a.test/" + "y" * 40_000, " ", "http:///", "//a.test/x"]
    for number, host in enumerate(HOSTS):
        location = f"http://{host}/x".encode().decode("latin-1")
        raw_server.answers[f"a.test/to{number}"] = say(reply(status=302, Location=location))
        urls.append(f"http://a.test/to{number}")
    rows = crawl(tmp_path, [*urls, "http://a.test/good"])
    assert [row["url"] for row in rows] == [*urls[:10], urls[10][:32_769], *urls[11:], "http://a.test/good"]
    assert rows[-1]["status"] == "kept"
    assert {row["reason"] for row in rows[:-1]} <= {
        "scheme",
        "long_address",
        "connection",
        "not_an_image",
        "duplicate_url",
    }


def test_what_nobody_foresaw_is_one_row_with_its_type(
    raw_server: RawServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.crawl_ingest.fetch import downloader

    real = downloader.opts_out

    def broken(values: list[str], agent: str) -> bool:
        if values:
            raise KeyError(values)
        return real(values, agent)

    monkeypatch.setattr(downloader, "opts_out", broken)
    raw_server.answers |= {"a.test/0": say(reply(b"", X_Robots_Tag="x")), "a.test/1": say(reply(jpeg(0)))}
    rows = crawl(tmp_path, ["http://a.test/0", "http://a.test/1"])
    assert [row["reason"] for row in rows] == ["unexpected:KeyError", ""]
    assert rows[0]["status"] == reasons.status_of("unexpected:KeyError") == "failed"


@settings(max_examples=25)
@given(st.binary(max_size=400), st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 302 Found\r\nLocation: "]))
def test_random_bytes_through_the_whole_download_path(answer: bytes, before: bytes) -> None:
    with serving() as server:
        server.answers["a.test/x"] = say(before + answer, abort=True)
        server.answers["b.test/robots.txt"] = say(before + answer, abort=True)
        os.environ["PIPELINE_RESOLVE"] = server.resolve
        try:
            ended = fetch_all("http://a.test/x", "http://b.test/x", "http://a.test/good", timeout=2.0, retries=0)
        finally:
            del os.environ["PIPELINE_RESOLVE"]
    assert not isinstance(ended[2], str) and ended[2].body == b"body"
    for reason in ended:
        assert not isinstance(reason, str) or reasons.status_of(reason) != "kept"


def test_a_slow_host_holds_up_no_other(raw_server: RawServer, tmp_path: Path) -> None:
    raw_server.answers["slow.test/robots.txt"] = say(reply(b"User-agent: *\nCrawl-delay: 0.5\n"))
    urls = [f"http://slow.test/{i}" for i in range(12)] + [f"http://fast{i}.test/x" for i in range(12)]
    crawl(tmp_path, urls, connections=2, connections_per_host=2)
    slow = sorted(raw_server.times["slow.test"])
    fast = [moment for i in range(12) for moment in raw_server.times[f"fast{i}.test"]]
    assert max(fast) < slow[-1] - 1.5, "the others waited for the slow host"
    assert min(b - a for a, b in pairwise(slow[1:])) > 0.4
