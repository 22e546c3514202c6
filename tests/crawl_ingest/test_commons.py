"""Contract with Wikimedia Commons, against answers written from the documentation of the MediaWiki action API.

Read 2026-11-21: mediawiki.org/wiki/API:Search, API:Imageinfo, API:Continue, Manual:Maxlag_parameter, API:Etiquette,
Extension:CommonsMetadata. No answer was recorded from the real service.
"""

import io
import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.artifacts import MANIFEST, read_table
from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.__main__ import main
from pipeline.crawl_ingest.sources import SearchError
from tests.crawl_ingest.asking import query, search
from tests.crawl_ingest.server import Answer, RawServer, reply, say

HOST = "commons.test/w/api.php"
SETTINGS = CrawlIngest(
    source="commons",
    api=f"http://{HOST}",
    user_agent="ourbot/1.0 (me@example.com)",
    page_size=3,
    timeout=2.0,
    retries=2,
)


def page(number: int, **about: str) -> dict[str, Any]:
    """Return an entry of `query.pages` with formatversion=2."""
    fields = {"LicenseShortName": "CC BY-SA 4.0", "LicenseUrl": "https://creativecommons.org/licenses/by-sa/4.0",
              "Artist": '<a href="//x" title="User:A">A. &amp; B.</a>', "ObjectName": f"Cat {number}",
              **about}  # fmt: skip
    info = {
        "size": 10**7, "width": 6000, "height": 4000, "mime": "image/jpeg",
        "thumburl": f"http://upload.test/960px-{number}.jpg", "thumbwidth": 960, "thumbheight": 640,
        "url": f"http://upload.test/{number}.jpg", "descriptionurl": f"https://commons.test/wiki/File:{number}.jpg",
        "extmetadata": {key: {"value": value, "source": "commons-desc-page"} for key, value in fields.items()},
    }  # fmt: skip
    return {"pageid": 100 + number, "ns": 6, "title": f"File:{number}.jpg", "index": number, "imageinfo": [info]}


def answer(pages: list[dict[str, Any]], more: dict[str, Any] | None = None, whole: bool = True) -> Answer:
    body: dict[str, Any] = {"batchcomplete": True} if whole else {}
    if more:
        body["continue"] = more
    if pages:
        body["query"] = {"pages": pages}
    return say(reply(json.dumps(body).encode(), X_Robots_Tag="noindex"))


def serve(server: RawServer, total: int) -> list[dict[str, str]]:
    """Answer searches with `total` files, three a page; return the list of parameters that were asked."""
    asked: list[dict[str, str]] = []

    def respond(parameters: dict[str, str]) -> Answer:
        asked.append(parameters)
        first = int(parameters.get("gsroffset", 0))
        size = int(parameters["gsrlimit"])
        # Pages come in the order of their ids, the rank is in `index`.
        pages = [page(number) for number in reversed(range(first, min(first + size, total)))]
        more = {"gsroffset": first + size, "continue": "gsroffset||"} if first + size < total else None
        return answer(pages, more)

    server.services[HOST] = respond
    return asked


def test_pages_are_read_to_the_end_in_the_order_of_the_search(raw_server: RawServer) -> None:
    asked = serve(raw_server, 8)
    found = search(SETTINGS, query("grey cat"))
    assert [c["url"] for c in found] == [f"http://upload.test/960px-{i}.jpg" for i in range(8)]
    assert len(asked) == 3 and [a.get("gsroffset", "0") for a in asked] == ["0", "3", "6"]
    assert asked[0]["gsrsearch"] == "grey cat filetype:bitmap" and asked[0]["gsrnamespace"] == "6"


def test_the_limit_ends_the_search(raw_server: RawServer) -> None:
    asked = serve(raw_server, 100)
    assert len(search(SETTINGS, query("cat"), 4)) == 4 and len(asked) == 2


def test_licence_and_attribution_are_plain_text(raw_server: RawServer) -> None:
    serve(raw_server, 1)
    (found,) = search(SETTINGS, query("cat"))
    assert found == {
        "url": "http://upload.test/960px-0.jpg", "page_url": "https://commons.test/wiki/File:0.jpg",
        "licence": "by-sa 4.0", "creator": "A. & B.", "title": "Cat 0", "source": "commons", "sha256": "",
    }  # fmt: skip


ZERO = "http://creativecommons.org/publicdomain/zero/1.0/deed.en"
LICENCES = [
    ("CC0", ZERO, "cc0 1.0"), ("Public domain", "", "public domain"), ("CC BY 2.0", "", "by 2.0"),
    ("GFDL", "http://www.gnu.org/copyleft/fdl.html", "gfdl"), ("", "", ""),
]  # fmt: skip


@pytest.mark.parametrize(("name", "deed", "expected"), LICENCES)
def test_licences_of_every_kind(raw_server: RawServer, name: str, deed: str, expected: str) -> None:
    raw_server.services[HOST] = lambda _: answer([page(0, LicenseShortName=name, LicenseUrl=deed)])
    assert search(SETTINGS, query("cat"))[0]["licence"] == expected


def test_an_answer_in_parts_is_put_together(raw_server: RawServer) -> None:
    # API:Continue: the generator's pages come first, the image information of some of them with `iicontinue`.
    bare = {k: v for k, v in page(1).items() if k != "imageinfo"}

    def respond(parameters: dict[str, str]) -> Answer:
        if "iistart" in parameters:
            return answer([{k: v for k, v in page(1).items() if k != "index"}])
        return answer([page(0), bare], {"iistart": "2020", "continue": "||"}, whole=False)

    raw_server.services[HOST] = respond
    assert [c["title"] for c in search(SETTINGS, query("cat"))] == ["Cat 0", "Cat 1"]


def test_no_results_are_no_error(raw_server: RawServer) -> None:
    raw_server.services[HOST] = lambda _: answer([])
    assert search(SETTINGS, query("cat")) == []


def test_a_file_without_an_address_is_left_out(raw_server: RawServer) -> None:
    missing = {"pageid": 5, "ns": 6, "title": "File:gone.jpg", "index": 0, "imagerepository": "", "missing": True}
    raw_server.services[HOST] = lambda _: answer([missing, page(1)])
    assert [c["title"] for c in search(SETTINGS, query("cat"))] == ["Cat 1"]


@pytest.mark.parametrize("code", ["maxlag", "ratelimited"])
def test_a_busy_service_is_asked_again_after_the_pause_it_wants(raw_server: RawServer, code: str) -> None:
    answers = []

    def respond(parameters: dict[str, str]) -> Answer:
        answers.append(parameters["maxlag"])
        body = json.dumps({"error": {"code": code, "info": "Waiting for db1: 7 seconds lagged", "lag": 7}}).encode()
        return answer([page(0)]) if len(answers) > 1 else say(reply(body, Retry_After="0"))

    raw_server.services[HOST] = respond
    assert len(search(SETTINGS, query("cat"))) == 1 and answers == ["5", "5"]


def test_quota_by_status(raw_server: RawServer) -> None:
    raw_server.services[HOST] = lambda _: say(reply(b"Too many requests", status=429, Retry_After="0"))
    with pytest.raises(SearchError, match=r"search http://commons.test/w/api.php\?\S+ failed: http_error 429"):
        search(SETTINGS, query("cat"))


def test_an_error_is_named(raw_server: RawServer) -> None:
    body = {"error": {"code": "cirrussearch-backend-error", "info": "We could not complete your search"}}
    raw_server.services[HOST] = lambda _: say(reply(json.dumps(body).encode()))
    with pytest.raises(SearchError, match="failed: cirrussearch-backend-error"):
        search(SETTINGS, query("cat"))


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b"<html>", b"\xff\xfe", b'{"continue": 3}', b"[" * 100_000]
)
def test_other_answers_are_one_clear_error(raw_server: RawServer, body: bytes) -> None:
    raw_server.services[HOST] = lambda _: say(reply(body))
    with pytest.raises(SearchError, match=r"search http://commons.test/\S+ did not answer with a page of results"):
        search(SETTINGS, query("cat"))


@pytest.mark.parametrize(
    "pages",
    [3, {"1": {}}, [3, None], [{"imageinfo": 3}], [{"imageinfo": [{"url": 5, "extmetadata": []}], "index": "x"}]],
)
def test_odd_entries_end_no_search(raw_server: RawServer, pages: Any) -> None:
    raw_server.services[HOST] = lambda _: say(
        reply(json.dumps({"batchcomplete": True, "query": {"pages": pages}}).encode())
    )
    assert len(search(SETTINGS, query("cat"))) <= 1


def test_one_request_at_a_time_with_a_contact_and_whatever_robots_txt_says(raw_server: RawServer) -> None:
    # Wikimedia's robots.txt disallows /w/ to crawlers that follow links; the API has its own etiquette.
    raw_server.answers["commons.test/robots.txt"] = say(reply(b"User-agent: *\nDisallow: /w/\n"))
    serve(raw_server, 9)
    assert len(search(SETTINGS, query("cat"))) == 9
    assert raw_server.most["commons.test"] == 1
    assert all("User-Agent: ourbot/1.0 (me@example.com)" in head for head in raw_server.heads)


def test_a_contact_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIPELINE_RESOLVE", raising=False)
    with pytest.raises(SearchError, match="user_agent names no contact"):
        search(CrawlIngest(source="commons"), query("cat"))


def test_the_three_commands_of_the_readme(
    raw_server: RawServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Word for word, against a server on loopback: class names in, images with licences out."""
    readme = (Path(__file__).parents[2] / "docs" / "web.md").read_text()
    (config,) = re.findall(r"```yaml\n(crawl_ingest:.*?)```", readme, re.S)
    (block,) = re.findall(r"<!-- three commands -->\n```\n(.*?)```", readme, re.S)
    commands = [shlex.split(line) for line in block.strip().splitlines()]
    assert len(commands) == 3
    serve(raw_server, 3)
    for number in range(3):
        values = np.random.default_rng(number).integers(0, 255, (9, 12, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(values).resize((120, 90)).save(buffer, "JPEG")
        raw_server.answers[f"upload.test/960px-{number}.jpg"] = say(reply(buffer.getvalue()))
    monkeypatch.chdir(tmp_path)
    Path("classes.txt").write_text("cat\ntvmonitor\n")
    Path("web.yaml").write_text(config)
    quick = json.dumps({"crawl_ingest": {"api": f"http://{HOST}", "requests_per_second": 1000.0}})
    for words in commands:
        assert words[:3] == ["python", "-m", "pipeline.crawl_ingest"]
        assert main([*words[3:], "--settings", quick]) == 0
    rows = read_table("pool/manifests/base.parquet", MANIFEST)
    assert {row["query_text"] for row in rows} == {"cat", "television"}
    kept = [row for row in rows if row["status"] == "kept"]
    assert len(kept) == 3 and {row["licence"] for row in kept} == {"by-sa 4.0"} and kept[0]["creator"] == "A. & B."
