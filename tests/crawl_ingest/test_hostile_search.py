"""Search APIs that answer with anything, for ever."""

import json
import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.config import CrawlIngest
from tests.crawl_ingest.asking import query, search
from tests.crawl_ingest.listed import AGENT
from tests.crawl_ingest.server import RawServer, reply, say

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-(10**400), 10**400) | st.text(max_size=5)
    | st.just("x" * 50_000),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2), max_leaves=4,
)  # fmt: skip
FIELDS = {
    "openverse": ["url", "title", "creator", "license", "license_version", "source", "foreign_landing_url"],
    "commons": ["pageid", "index", "title", "imageinfo"],
    "flickr": ["id", "owner", "title", "license", "url_l", "ownername"],
}


def page(source: str, item: dict[str, Any], count: Any) -> bytes:
    if source == "openverse":
        value: Any = {"page_count": count, "results": [item, {"url": "http://a.test/1"}]}
    elif source == "commons":
        value = {
            "continue": count if isinstance(count, dict) else {"x": count},
            "batchcomplete": True,
            "query": {"pages": [item]},
        }
    else:
        value = {"photos": {"pages": count, "photo": [item, {"id": "7", "url_l": "http://a.test/1"}]},
                 "licenses": {"license": [{"id": 4, "name": "by", "url": ""}, item]}}  # fmt: skip
    # Python's floats Infinity and NaN are what such servers write.
    return json.dumps(value).encode()


@pytest.mark.parametrize("source", FIELDS)
def test_wrong_types_in_any_field_of_a_search(
    raw_server: RawServer, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    from pipeline.crawl_ingest.sources import SearchError

    monkeypatch.setenv("FLICKR_API_KEY", "k")
    chosen: Any = CrawlIngest(
        source=source, api="http://api.test/x", retries=0, timeout=5.0, user_agent=AGENT, page_size=20
    )

    @settings(max_examples=25)
    @given(st.dictionaries(st.sampled_from(FIELDS[source]), JSON), JSON)
    @example({}, float("inf"))
    @example({"pageid": [], "id": [], "url": {}, "imageinfo": [{"url": [1]}]}, float("nan"))
    def check(item: dict[str, Any], count: Any) -> None:
        import sys

        sys.set_int_max_str_digits(5000)
        raw_server.services["api.test/x"] = lambda _: say(reply(page(source, item, count)))
        raw_server.asked.clear()
        try:
            found = search(chosen, query("cat"), 40)
        except SearchError as error:
            assert len(str(error)) < 5000
            return
        finally:
            sys.set_int_max_str_digits(4300)
        assert sum(raw_server.asked.values()) <= 20 and len(found) <= 40
        for candidate in found:
            assert all(isinstance(value, str) and len(value) <= 32_769 for value in candidate.values())
            assert len(candidate["title"]) <= 2000 and len(candidate["creator"]) <= 500

    check()


@pytest.mark.parametrize("source", ["openverse", "commons"])
def test_a_search_that_goes_on_for_ever_ends(raw_server: RawServer, source: str) -> None:
    endless: dict[str, Any] = {
        "openverse": {"page_count": 10**9, "results": [{"url": "", "id": 1}] * 3 + [{"url": "http://a.test/x"}]},
        "commons": {"continue": {"gsroffset": 5}, "query": {"pages": []}},
    }
    raw_server.services["api.test/x"] = lambda _: say(reply(json.dumps(endless[source]).encode()))
    chosen: Any = CrawlIngest(source=source, api="http://api.test/x", retries=0, user_agent=AGENT)
    search(chosen, query("cat"), 100)
    assert sum(raw_server.asked.values()) <= 40


def test_a_title_of_ten_megabytes_is_cut_and_costs_little(raw_server: RawServer) -> None:
    pages = {"openverse": {"results": [{"url": "http://a.test/x", "title": "<," * 5_000_000}]},
             "commons": {"batchcomplete": True, "query": {"pages": [{"title": "<" * 9_000_000, "imageinfo": [
                 {"url": "http://a.test/x", "extmetadata": {"Artist": {"value": "<" * 9_000_000}}}]}]}}}  # fmt: skip
    for source, answer in pages.items():
        raw_server.services["api.test/x"] = lambda _, answer=answer: say(reply(json.dumps(answer).encode()))  # type: ignore[misc]
        chosen: Any = CrawlIngest(source=source, api="http://api.test/x", retries=0, timeout=60.0, user_agent=AGENT)
        began = time.process_time()
        (found,) = search(chosen, query("cat"), 5)
        assert len(found["title"]) == 2000 and len(found["creator"]) <= 500 and time.process_time() - began < 5
