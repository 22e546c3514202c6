"""Contract with Openverse, against answers written from its API documentation, and what a crawl makes of them.

Read 2026-11-21: api.openverse.org/v1/ (image search, its parameters and page limits) and
make.wordpress.org/openverse/2022/08/11/openverse-api-results-constrained-to-20-pages. No answer was recorded from the
real service.
"""

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifacts import INGEST, QUERIES, read_json, read_table, write_table
from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.__main__ import main
from pipeline.crawl_ingest.crawl import ingest
from pipeline.crawl_ingest.fetch.downloader import Downloader
from pipeline.crawl_ingest.fetch.network import ENVIRONMENT
from pipeline.crawl_ingest.pool.merge import merge
from pipeline.crawl_ingest.sources import SearchError, open_source
from tests.crawl_ingest.pool import jpeg
from tests.crawl_ingest.server import Answer, RawServer, reply, say, serving
from tests.protocols import protocol_at

API = "http://api.test/v1/images/"
SETTINGS = CrawlIngest(api=API, timeout=2.0, retries=1, shards=1, per_class=12, page_size=5)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[RawServer]:
    with serving() as server:
        monkeypatch.setenv(ENVIRONMENT, server.resolve)
        yield server


def page(number: int, urls: list[str], pages: int = 1, **extra: Any) -> Answer:
    results = [
        {"url": url, "title": f"title of {url}", "license": "by", "license_version": "4.0", **extra} for url in urls
    ]
    answer = {"result_count": 99, "page_count": pages, "page_size": 5, "page": number, "results": results}
    return say(reply(json.dumps(answer).encode()))


def asked(text: str, number: int, size: int = 5) -> str:
    return f"api.test/v1/images/?q={text}&page={number}&page_size={size}"


def candidates(text: str = "cat", limit: int = 12) -> list[dict[str, Any]]:
    async def run() -> list[dict[str, Any]]:
        async with Downloader(SETTINGS) as downloader:
            return [found async for found in open_source(SETTINGS, downloader).search({"text": text}, limit)]

    return asyncio.run(run())


def test_pages_are_read_to_the_limit_or_to_the_end(server: RawServer) -> None:
    for number in (1, 2, 3, 4):
        server.answers[asked("cat", number)] = page(number, [f"http://a.test/{number}{i}" for i in range(5)], pages=4)
    assert [c["url"][-2:] for c in candidates()] == [
        "10",
        "11",
        "12",
        "13",
        "14",
        "20",
        "21",
        "22",
        "23",
        "24",
        "30",
        "31",
    ]
    assert not server.asked[asked("cat", 4)]
    assert len(candidates(limit=100)) == 20 and server.asked[asked("cat", 4)] == 1
    assert candidates(limit=7)[6]["licence"] == "by 4.0"


def test_no_results_are_no_error(server: RawServer) -> None:
    server.answers[asked("cat", 1)] = page(1, [])
    assert candidates() == []


def test_a_service_without_end_is_left(server: RawServer) -> None:
    server.answers[asked("cat", 1)] = page(1, ["http://a.test/1", ""], pages=10**9)
    server.answers[asked("cat", 2)] = page(2, ["", ""], pages=10**9)
    assert len(candidates()) == 1 and sum("/v1/images/" in path for path in server.asked.elements()) == 2


def test_quota_is_waited_for_once_told(server: RawServer) -> None:
    wait = say(reply(b"{}", status=429, Retry_After="0"))
    server.answers[asked("cat", 1)] = [wait, page(1, ["http://a.test/1"])]
    assert len(candidates()) == 1


def test_quota_that_is_spent_is_named_and_another_day_asks_on(server: RawServer, tmp_path: Path) -> None:
    spent = say(reply(b'{"detail": "Request was throttled."}', status=429, Retry_After="86400"))
    server.answers[asked("cat", 1)] = page(1, ["http://a.test/1"])
    server.answers[asked("dog", 1)] = [spent, page(1, ["http://a.test/2"])]
    server.answers |= {f"a.test/{i}": say(reply(jpeg(i))) for i in (1, 2)}
    pool = Pool(tmp_path, ["cat", "dog"])
    with pytest.raises(SearchError, match="failed: http_error 429"):
        pool.ingest()
    assert server.asked[asked("dog", 1)] == 1, "a pause of a day is neither waited for nor ignored"
    assert [row["reason"] for row in pool.ingest()] == ["", ""]
    assert server.asked[asked("cat", 1)] <= 2


@pytest.mark.parametrize("status", [400, 401])
def test_pages_that_are_promised_and_refused_end_a_search(server: RawServer, status: int) -> None:
    for number in (1, 2):
        server.answers[asked("cat", number)] = page(number, [f"http://a.test/{number}{i}" for i in range(5)], pages=9)
    server.answers[asked("cat", 3)] = say(reply(b'{"detail": "page too deep"}', status=status))
    assert len(candidates(limit=40)) == 10
    server.answers[asked("cat", 3)] = say(reply(b"{}", status=403))
    with pytest.raises(SearchError, match="failed: http_error 403"):
        candidates(limit=40)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'{"results": 3}', b'{"results": null}', b"<html>", b"\xff\xfe", b"[" * 100_000,
     b'{"results": [], "page_count": null}'],
)  # fmt: skip
def test_other_answers_are_one_clear_error(server: RawServer, body: bytes) -> None:
    server.answers[asked("cat", 1)] = say(reply(body))
    with pytest.raises(SearchError, match=r"search http://api.test/\S+ did not answer with a page of results"):
        candidates()


def test_an_error_status_is_named(server: RawServer) -> None:
    server.answers[asked("cat", 1)] = say(reply(b"{}", status=401))
    with pytest.raises(SearchError, match="failed: http_error 401"):
        candidates()


class Pool:
    """A plan of class queries over a protocol without evaluation images, in a folder of its own."""

    def __init__(self, folder: Path, texts: list[str], shards: int = 1) -> None:
        self.queries, self.protocol, self.shards = folder / "queries.parquet", folder / "step0.json", folder / "shards"
        rows = [
            {"query_id": f"q{i}", "text": text, "kind": "class", "class_ids": [i + 1], "source_image_id": "",
             "shard": i % shards} for i, text in enumerate(texts)
        ]  # fmt: skip
        write_table(self.queries, rows, QUERIES)
        protocol_at(self.protocol)

    def ingest(self, number: int = 0, settings: CrawlIngest = SETTINGS) -> list[dict[str, Any]]:
        out = self.shards / f"step1-{number:05d}.tar"
        ingest(self.queries, out.stem, self.protocol, settings, out)
        return read_table(out.with_suffix(".parquet"), INGEST)


def test_hostile_addresses_and_texts_are_rows_and_end_no_shard(server: RawServer, tmp_path: Path) -> None:
    urls = ["http://[::1", "http://a.test:x/", "nonsense", "http://a.test/\ud800", "http://169.254.169.254/latest",
            "http://a.test/moved", "http://a.test/good"]  # fmt: skip
    server.answers[asked("cat", 1)] = page(1, urls[:5], pages=2, title="\ud83d \0 half a smile")
    server.answers[asked("cat", 2)] = page(2, urls[5:], pages=2)
    server.answers["a.test/moved"] = say(reply(status=302, Location="http://[::1/\xff"))
    server.answers["a.test/good"] = say(reply(jpeg(1)))
    rows = Pool(tmp_path, ["cat"]).ingest()
    assert [row["reason"] for row in rows] == [
        "scheme", "scheme", "scheme", "not_an_image", "private_address", "scheme", "",
    ]  # fmt: skip
    stats = read_json(tmp_path / "shards" / "step1-00000.stats.json")
    assert stats == {"tried": 7, "scheme": 4, "not_an_image": 1, "private_address": 1, "kept": 1}


def test_a_host_that_wants_a_long_pause_is_left_alone_and_asked_by_a_rerun(server: RawServer, tmp_path: Path) -> None:
    urls = [f"http://a.test/{i}" for i in range(5)]
    server.answers[asked("cat", 1)] = page(1, urls)
    for index, url in enumerate(urls):
        server.answers[url.removeprefix("http://")] = say(reply(status=429, Retry_After="7200"))
        if index:
            server.answers[url.removeprefix("http://")] = say(reply(jpeg(index)))
    pool = Pool(tmp_path, ["cat"])
    one_by_one = SETTINGS.model_copy(update={"connections": 1, "connections_per_host": 1})
    assert [row["reason"] for row in pool.ingest(settings=one_by_one)] == ["http_error", *["told_to_wait"] * 4]
    assert sum(server.asked[url.removeprefix("http://")] for url in urls) == 1
    assert [row["reason"] for row in pool.ingest(settings=one_by_one)] == ["http_error", *[""] * 4]
    assert server.asked["a.test/0"] == 1


def test_arrival_order_does_not_matter(server: RawServer, tmp_path: Path) -> None:
    # The earlier of two equal pictures is kept, even if it arrives last.
    server.answers[asked("cat", 1)] = page(1, ["http://a.test/slow", "http://a.test/other"])
    server.answers[asked("dog", 1)] = page(1, ["http://b.test/quick"])
    server.answers["a.test/slow"] = say(b"", reply(jpeg(1)), pause=0.4)
    server.answers["a.test/other"] = say(reply(jpeg(2)))
    server.answers["b.test/quick"] = say(reply(jpeg(1)))
    rows = Pool(tmp_path, ["cat", "dog"]).ingest()
    assert [(row["url"][7:], row["reason"]) for row in rows] == [
        ("a.test/slow", ""), ("a.test/other", ""), ("b.test/quick", "duplicate_exact"),
    ]  # fmt: skip


def test_two_shards_at_once_share_the_pool(server: RawServer, tmp_path: Path) -> None:
    texts = [f"class{i}" for i in range(6)]
    for i, text in enumerate(texts):
        urls = [f"http://h{j % 3}.test/{i * 4 + j}" for j in range(5)]
        server.answers[asked(text, 1)] = page(1, urls)
        for j, url in enumerate(urls):
            server.answers[url.removeprefix("http://")] = say(reply(jpeg(i * 4 + j)))
    apart, together = Pool(tmp_path / "apart", texts, shards=2), Pool(tmp_path / "together", texts, shards=2)
    rows: dict[int, list[dict[str, Any]]] = {}
    threads = [threading.Thread(target=lambda n=n: rows.update({n: together.ingest(n)})) for n in (0, 1)]
    for thread in threads:
        thread.start()
    expected = {n: apart.ingest(n) for n in (0, 1)}
    for thread in threads:
        thread.join(30)
    for n in (0, 1):
        assert [{**row, "fetched_at": ""} for row in rows[n]] == [{**row, "fetched_at": ""} for row in expected[n]]
        name = f"step1-{n:05d}.tar"
        assert (together.shards / name).read_bytes() == (apart.shards / name).read_bytes()


def test_rows_of_another_plan_cannot_be_merged(server: RawServer, tmp_path: Path) -> None:
    server.answers[asked("cat", 1)] = page(1, ["http://a.test/1"])
    Pool(tmp_path, ["cat"]).ingest()
    other = Pool(tmp_path / "other", [])
    with pytest.raises(ValueError, match="answers query q0, which is not in"):
        merge(other.queries, [tmp_path / "shards" / "step1-00000.parquet"], SETTINGS, tmp_path / "m.parquet")
    assert not (tmp_path / "m.parquet").exists()


@pytest.mark.parametrize("shard", ["step1", "-3", "step1-x", ""])
def test_a_bad_shard_name_is_one_clear_line(shard: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pool = Pool(tmp_path, ["cat"])
    arguments = ["--queries", str(pool.queries), f"--shard={shard}", "--protocol", str(pool.protocol)]
    assert main(["ingest", *arguments, "--out", str(tmp_path / "shards" / "x.tar")]) == 2
    assert "expected <plan>-<number>" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.sqlite")) and "state" not in os.listdir(tmp_path)
