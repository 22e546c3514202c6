"""Contract with Flickr, against answers written from its API documentation.

Read 2026-11-21: flickr.com/services/api/flickr.photos.search.html, flickr.photos.licenses.getInfo.html and
response.json.html, in stored copies. No answer was recorded from the real service.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifacts import QUERIES, write_table
from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.__main__ import main
from pipeline.crawl_ingest.sources import SearchError
from pipeline.crawl_ingest.sources.flickr import KEY
from tests.crawl_ingest.asking import query, search
from tests.crawl_ingest.server import Answer, RawServer, reply, say
from tests.protocols import protocol_at

HOST = "flickr.test/services/rest/"
SETTINGS = CrawlIngest(source="flickr", api=f"http://{HOST}", page_size=3, timeout=20.0, retries=1)
SECRET = "c0ffee5ecret5ecret5ecretc0ffee"
LICENCES = [
    ("0", "All Rights Reserved", ""), ("1", "CC BY-NC-SA 2.0", "https://creativecommons.org/licenses/by-nc-sa/2.0/"),
    ("4", "CC BY 2.0", "https://creativecommons.org/licenses/by/2.0/"),
    ("7", "No known copyright restrictions", "https://www.flickr.com/commons/usage/"),
    ("9", "Public Domain Dedication (CC0)", "https://creativecommons.org/publicdomain/zero/1.0/"),
    ("11", "CC BY 4.0", "https://creativecommons.org/licenses/by/4.0/"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, SECRET)


def body(value: Any) -> Answer:
    return say(reply(json.dumps(value).encode()))


def photo(number: int, **extra: Any) -> dict[str, Any]:
    """Return an entry of `photos.photo`."""
    return {
        "id": str(5000 + number), "owner": "47058503995@N01", "secret": "a1", "server": "65535", "farm": 66,
        "title": f"Cat {number}", "ispublic": 1, "isfriend": 0, "isfamily": 0, "license": "4", "ownername": "Ann",
        "url_z": f"http://live.test/{number}_z.jpg", "height_z": 480, "width_z": 640, **extra,
    }  # fmt: skip


def serve(server: RawServer, total: int, respond: Any = None) -> list[dict[str, str]]:
    """Answer searches with `total` photos; return the list of parameters that were asked."""
    asked: list[dict[str, str]] = []

    def answer(parameters: dict[str, str]) -> Answer:
        asked.append(parameters)
        assert parameters["api_key"] == SECRET and parameters["nojsoncallback"] == "1"
        if parameters["method"] == "flickr.photos.licenses.getInfo":
            entries = [{"id": number, "name": name, "url": url} for number, name, url in LICENCES]
            return body({"licenses": {"license": entries}, "stat": "ok"})
        if respond:
            return respond(parameters)
        page, size = int(parameters["page"]), int(parameters["per_page"])
        photos = [photo(i) for i in range((page - 1) * size, min(page * size, total))]
        facts = {"page": page, "pages": -(-total // size), "perpage": size, "total": total, "photo": photos}
        return body({"photos": facts, "stat": "ok"})

    server.services[HOST] = answer
    return asked


def test_pages_are_read_to_the_end(raw_server: RawServer) -> None:
    asked = serve(raw_server, 7)
    found = search(SETTINGS, query("grey cat"))
    assert [c["title"] for c in found] == [f"Cat {i}" for i in range(7)]
    searches = [a for a in asked if a["method"] == "flickr.photos.search"]
    assert [a["page"] for a in searches] == ["1", "2", "3"] and searches[0]["text"] == "grey cat"
    assert searches[0]["safe_search"] == "1" and searches[0]["license"] == "0,1,4,7,9,11"


def test_licence_and_attribution(raw_server: RawServer) -> None:
    serve(raw_server, 1)
    assert search(SETTINGS, query("cat")) == [{
        "url": "http://live.test/0_z.jpg", "page_url": "https://www.flickr.com/photos/47058503995@N01/5000",
        "licence": "by 2.0", "creator": "Ann", "title": "Cat 0", "source": "flickr", "sha256": "",
    }]  # fmt: skip


def test_the_allow_list_is_asked_for(raw_server: RawServer) -> None:
    asked = serve(raw_server, 1)
    search(SETTINGS.model_copy(update={"licences": ("by", "cc0", "no known copyright restrictions")}), query("cat"))
    assert asked[-1]["license"] == "4,7,9,11"
    with pytest.raises(SearchError, match="no licence of Flickr is on the allow-list"):
        search(SETTINGS.model_copy(update={"licences": ("pdm",)}), query("cat"))


def test_pages_that_repeat_and_photos_without_an_address(raw_server: RawServer) -> None:
    # Past 4,000 results pages repeat; an owner may allow no download, then no size has an address.
    hidden = {k: v for k, v in photo(9).items() if k != "url_z"}

    def respond(parameters: dict[str, str]) -> Answer:
        photos = [photo(0), hidden, photo(1)] if parameters["page"] == "1" else [photo(1), photo(0)]
        return body({"photos": {"page": 1, "pages": 3, "photo": photos}, "stat": "ok"})

    serve(raw_server, 0, respond)
    assert [c["title"] for c in search(SETTINGS, query("cat"))] == ["Cat 0", "Cat 1"]


def test_no_results_are_no_error(raw_server: RawServer) -> None:
    serve(raw_server, 0)
    assert search(SETTINGS, query("cat")) == []


@pytest.mark.parametrize("code", [105, 106])
def test_a_service_that_is_unavailable_is_asked_again(raw_server: RawServer, code: int) -> None:
    def respond(parameters: dict[str, str]) -> Answer:
        if len(asked) == 2:
            return body({"stat": "fail", "code": code, "message": "Service currently unavailable"})
        return body({"photos": {"page": 1, "pages": 1, "photo": [photo(0)]}, "stat": "ok"})

    asked = serve(raw_server, 0, respond)
    assert len(search(SETTINGS, query("cat"))) == 1 and len(asked) == 3


def test_quota_by_status(raw_server: RawServer) -> None:
    raw_server.services[HOST] = lambda _: say(reply(b"<html>quota", status=429, Retry_After="0"))
    with pytest.raises(SearchError, match=r"failed: http_error 429"):
        search(SETTINGS, query("cat"))


@pytest.mark.parametrize(
    "answer",
    [b"", b"{", b"[]", b"null", b"<rsp stat='ok'/>", b'{"stat": "ok"}', b"[" * 100_000,
     b'{"photos": {"photo": null, "pages": 1}}', b'{"photos": {"photo": [], "pages": null}}'],
)  # fmt: skip
def test_other_answers_are_one_clear_error(raw_server: RawServer, answer: bytes) -> None:
    serve(raw_server, 0, lambda _: say(reply(answer)))
    with pytest.raises(SearchError, match="did not answer with a page of results") as caught:
        search(SETTINGS, query("cat"))
    assert SECRET not in str(caught.value)


def test_a_missing_key_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, raw_server: RawServer) -> None:
    monkeypatch.delenv(KEY)
    with pytest.raises(SearchError, match=f"needs your API key in the environment variable {KEY}"):
        search(SETTINGS, query("cat"))


@pytest.mark.parametrize("failing", ["", "message", "status", "body", "dead"])
def test_the_key_is_nowhere_on_disk_and_in_no_message(
    raw_server: RawServer, failing: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A whole crawl, in good and bad: no file of the pool and no line of the output holds the key."""
    answers = {
        "message": body({"stat": "fail", "code": 100, "message": f"Invalid API Key {SECRET} (Key not found)"}),
        "status": say(reply(b"", status=401)), "body": say(reply(SECRET.encode())), "dead": say(abort=True),
    }  # fmt: skip
    serve(raw_server, 2, (lambda _: answers[failing]) if failing else None)
    write_table(tmp_path / "q.parquet", [query("cat")], QUERIES)
    protocol_at(tmp_path / "step0.json")
    out = tmp_path / "pool" / "shards" / "step1-00000.tar"
    arguments = ["ingest", "--queries", str(tmp_path / "q.parquet"), "--shard", out.stem, "--out", str(out)]
    settings = json.dumps({"crawl_ingest": SETTINGS.model_dump()})
    code = main([*arguments, "--protocol", str(tmp_path / "step0.json"), "--settings", settings])
    assert code == (2 if failing else 0)
    printed = capfd.readouterr()
    assert SECRET not in printed.out + printed.err
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) >= 3 and not any(SECRET.encode() in file.read_bytes() for file in files)
