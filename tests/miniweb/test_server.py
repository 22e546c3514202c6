"""Every fault as the server acts it out, robots, the log, and the search interface, over real HTTP."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from PIL import Image

from pipeline.artifacts import ArtifactError
from pipeline.config import CrawlIngest
from pipeline.miniweb.drawing import CLASS_NAMES
from pipeline.miniweb.faults import LISTED_ONCE
from pipeline.miniweb.server import serving

API = "http://api.miniweb.test/v1/images/"
Browse = Callable[..., Any]


def get(browse: Browse, *urls: str) -> list[Any]:
    """Return (status, headers, body) of each address, asked one after the other, redirects not followed."""

    async def visit(session: aiohttp.ClientSession) -> list[Any]:
        answers = []
        for url in urls:
            async with session.get(url, allow_redirects=False) as response:
                answers.append((response.status, response.headers, await response.read()))
        return answers

    answered: list[Any] = browse(visit)
    return answered


def test_a_sound_address_serves_its_file(web_site: Any, served: Any, browse: Browse) -> None:
    url = web_site.with_fault("")
    [(status, headers, body)] = get(browse, url)
    assert (status, headers["Content-Type"]) == (200, "image/jpeg")
    assert body == web_site.bytes_of(url)


def test_unknown_paths_and_hosts_are_not_found(served: Any, browse: Browse) -> None:
    answers = get(browse, "http://photos.miniweb.test/no.jpg", "http://other.miniweb.test/00000.jpg")
    assert [status for status, _, _ in answers] == [404, 404]


@pytest.mark.parametrize("fault", ["403", "404", "410"])
def test_plain_refusals(web_site: Any, served: Any, browse: Browse, fault: str) -> None:
    first, second = get(browse, *[web_site.with_fault(fault)] * 2)
    assert first[0] == second[0] == int(fault)


@pytest.mark.parametrize("fault", ["429_once", "503_once"])
def test_once_then_fine(web_site: Any, served: Any, browse: Browse, fault: str) -> None:
    url = web_site.with_fault(fault)
    first, second = get(browse, url, url)
    assert first[0] == int(fault[:3])
    assert first[1]["Retry-After"] == "1"
    assert (second[0], second[2]) == (200, web_site.bytes_of(url))


def test_truncated_ends_in_the_middle_of_an_image(web_site: Any, served: Any, browse: Browse) -> None:
    [(status, _, body)] = get(browse, web_site.with_fault("truncated"))
    assert status == 200
    with pytest.raises(OSError, match="truncated"):
        Image.open(io.BytesIO(body)).load()


@pytest.mark.parametrize(("fault", "start"), [("html", b"<html"), ("svg", b"<svg"), ("zero_bytes", b"")])
def test_bodies_that_are_no_image(web_site: Any, served: Any, browse: Browse, fault: str, start: bytes) -> None:
    [(status, headers, body)] = get(browse, web_site.with_fault(fault))
    assert status == 200
    assert headers["Content-Type"].startswith("image/"), "the header claims an image"
    assert body[: max(1, len(start))] == start


def test_wrong_type_hides_a_good_image(web_site: Any, served: Any, browse: Browse) -> None:
    url = web_site.with_fault("wrong_type")
    [(_, headers, body)] = get(browse, url)
    assert headers["Content-Type"].startswith("text/html")
    assert body == web_site.bytes_of(url)


@pytest.mark.parametrize(("fault", "size"), [("bomb", (20_000, 20_000)), ("icon", (16, 16))])
def test_extreme_sizes(
    web_site: Any, served: Any, browse: Browse, monkeypatch: pytest.MonkeyPatch, fault: str, size: tuple[int, int]
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    [(_, _, body)] = get(browse, web_site.with_fault(fault))
    assert Image.open(io.BytesIO(body)).size == size
    assert len(body) < 200_000


def test_small_drawn_png_is_valid(web_site: Any, served: Any, browse: Browse) -> None:
    [(_, _, body)] = get(browse, web_site.with_fault("icon"))
    Image.open(io.BytesIO(body)).load()


def test_redirect_takes_two_hops_to_the_image(web_site: Any, served: Any, browse: Browse) -> None:
    url = web_site.with_fault("redirect")

    async def visit(session: aiohttp.ClientSession) -> tuple[list[int], bytes]:
        async with session.get(url) as response:
            return [r.status for r in response.history], await response.read()

    history, body = browse(visit)
    assert history == [302, 302]
    assert body == web_site.bytes_of(url)


def test_redirect_loop_never_ends(web_site: Any, served: Any, browse: Browse) -> None:
    async def visit(session: aiohttp.ClientSession) -> None:
        await session.get(web_site.with_fault("redirect_loop"), max_redirects=7)

    with pytest.raises(aiohttp.TooManyRedirects):
        browse(visit)


def test_reset_breaks_the_body(web_site: Any, served: Any, browse: Browse) -> None:
    with pytest.raises(aiohttp.ClientError):
        get(browse, web_site.with_fault("reset"))


def test_slow_arrives_whole_but_late(web_site: Any, served: Any, browse: Browse) -> None:
    url = web_site.with_fault("slow")
    start = time.monotonic()
    [(_, _, body)] = get(browse, url)
    assert body == web_site.bytes_of(url)
    assert 0.8 < time.monotonic() - start < 5


def test_endless_still_drips_after_a_second_and_lets_go_of_who_leaves(
    web_site: Any, served: Any, browse: Browse
) -> None:
    async def visit(session: aiohttp.ClientSession) -> int:
        got = 0
        async with session.get(web_site.with_fault("endless")) as response:
            try:
                async with asyncio.timeout(1.2):
                    async for chunk in response.content.iter_any():
                        got += len(chunk)
            except TimeoutError:
                return got
        raise AssertionError("the body ended")

    assert 2 <= browse(visit) <= 20


def test_oversized_floods_past_the_default_cap(web_site: Any, served: Any, browse: Browse) -> None:
    async def visit(session: aiohttp.ClientSession) -> int:
        got = 0
        async with session.get(web_site.with_fault("oversized")) as response:
            async for chunk in response.content.iter_any():
                got += len(chunk)
                if got > CrawlIngest().max_bytes:
                    break
        return got

    assert browse(visit) > CrawlIngest().max_bytes


def test_robots_header_travels_with_a_good_image(web_site: Any, served: Any, browse: Browse) -> None:
    url = web_site.with_fault("robots_header")
    [(status, headers, body)] = get(browse, url)
    assert (status, body) == (200, web_site.bytes_of(url))
    assert {"noai", "noimageai"} == {word.strip() for word in headers["X-Robots-Tag"].split(",")}


def test_robots_files_differ_by_host(web_site: Any, served: Any, browse: Browse) -> None:
    hosts = ("photos", "private", "blog", "broken")
    answers = get(browse, *(f"http://{host}.miniweb.test/robots.txt" for host in hosts))
    assert [status for status, _, _ in answers] == [404, 200, 200, 503]
    assert b"Disallow: /private/" in answers[1][2]
    assert b"Crawl-delay" in answers[2][2]
    assert web_site.with_fault("robots").startswith("http://private.miniweb.test/private/")
    assert web_site.with_fault("robots_broken").startswith("http://broken.miniweb.test/")


def test_every_kind_of_fault_has_a_test_above(web_site: Any) -> None:
    source = Path(__file__).read_text()
    assert [fault for fault in LISTED_ONCE if f'"{fault}"' not in source] == []


def test_log_counts_requests_and_not_itself(web_site: Any, served: Any, browse: Browse) -> None:
    url, private = web_site.with_fault(""), web_site.with_fault("robots")
    log = "http://api.miniweb.test/_log"
    answers = get(browse, url, url, f"{API}?q=cat", log, log)
    counts = json.loads(answers[-1][2])
    assert counts[url] == 2
    assert counts[f"{API}?q=cat"] == 1
    assert private not in counts
    assert log not in counts


def test_two_servers_run_side_by_side_with_their_own_memory(web_site: Any) -> None:
    with serving(web_site.root) as (first, resolve), serving(web_site.root) as (second, other):
        assert resolve != other
        assert first.asked is not second.asked


def test_leaving_while_a_client_hangs_on_does_not_take_long(web_site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(web_site.root) as (_, resolve):
        address, port = resolve.partition("=")[2].split(":")
        client = socket.create_connection((address, int(port)))
        path = web_site.with_fault("endless").removeprefix("http://")
        host, _, name = path.partition("/")
        client.sendall(f"GET /{name} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert client.recv(100)
        start = time.monotonic()
    assert time.monotonic() - start < 3
    client.close()


def test_a_missing_site_is_one_clear_line(tmp_path: Any) -> None:
    with pytest.raises(ArtifactError, match=r"index\.json"), serving(tmp_path):
        pass


def pages(browse: Browse, query: str, size: int = 20) -> list[dict[str, Any]]:
    """Return all pages of a query, read to the end as the real API's clients do."""

    async def visit(session: aiohttp.ClientSession) -> list[dict[str, Any]]:
        answers: list[dict[str, Any]] = []
        while not answers or len(answers) < answers[0]["page_count"]:
            options = {"q": query, "page": str(len(answers) + 1), "page_size": str(size)}
            async with session.get(API, params=options) as response:
                if response.status != 429:
                    answers.append(await response.json())
        return answers

    found: list[dict[str, Any]] = browse(visit)
    return found


def test_search_pages_partition_the_results(served: Any, browse: Browse) -> None:
    answers = pages(browse, "sheep", size=7)
    urls = [item["url"] for page in answers for item in page["results"]]
    assert len(answers) > 3
    assert len(urls) == len(set(urls)) == answers[0]["result_count"]
    assert [page["page"] for page in answers] == list(range(1, len(answers) + 1))
    assert all(len(page["results"]) == 7 for page in answers[:-1])


def test_a_page_past_the_end_is_not_found(served: Any, browse: Browse) -> None:
    [(status, _, body)] = get(browse, f"{API}?q=sheep&page=99")
    assert status == 404
    assert b"detail" in body


@pytest.mark.parametrize("options", ["page=zero", "page=0", "page_size=-3", "page_size=x"])
def test_nonsense_paging_is_a_client_error(served: Any, browse: Browse, options: str) -> None:
    [(status, _, body)] = get(browse, f"{API}?q=sheep&{options}")
    assert status == 400
    assert b"detail" in body


def test_no_result_is_an_empty_page(served: Any, browse: Browse) -> None:
    [page] = pages(browse, "xylophone")
    assert (page["result_count"], page["results"]) == (0, [])


def test_results_have_openverse_fields(web_site: Any, served: Any, browse: Browse) -> None:
    item = pages(browse, "sheep")[0]["results"][0]
    expected = {
        "id", "title", "creator", "creator_url", "url", "foreign_landing_url", "license", "license_version",
        "license_url", "provider", "source", "tags", "width", "height", "filesize", "filetype", "mature",
        "thumbnail",
    }  # fmt: skip
    assert expected <= set(item)
    assert item["filesize"] == len(web_site.bytes_of(item["url"]))
    assert all(set(tag) >= {"name"} for tag in item["tags"])


def test_public_domain_is_not_version_four(served: Any, browse: Browse) -> None:
    results = [item for page in pages(browse, "cat") for item in page["results"]]
    versions = {(item["license"], item["license_version"]) for item in results}
    assert ("cc0", "1.0") in versions
    assert ("cc0", "4.0") not in versions


def test_class_query_finds_every_candidate(web_site: Any, served: Any, browse: Browse) -> None:
    urls = [item["url"] for page in pages(browse, "sheep") for item in page["results"]]
    assert {url for url, row in web_site.truth.items() if row["query_class"] == 17} <= set(urls)


def test_relevant_results_come_roughly_first(web_site: Any, served: Any, browse: Browse) -> None:
    early = late = 0
    for name, class_id in (("sheep", 17), ("television", 20), ("bird", 3), ("cat", 8), ("dog", 12)):
        urls = [item["url"] for page in pages(browse, name) for item in page["results"]]
        right = [class_id in web_site.truth[url]["class_ids"] for url in urls]
        early += sum(right[: len(right) // 2])
        late += sum(right[len(right) // 2 :])
    assert early >= late


@pytest.mark.parametrize(("query", "class_id"), [("television", 20), ("puppy", 12), ("A kitten!", 8)])
def test_synonyms_find_the_class(web_site: Any, served: Any, browse: Browse, query: str, class_id: int) -> None:
    urls = [item["url"] for item in pages(browse, query)[0]["results"]]
    about = [web_site.truth[url] for url in urls]
    assert all(row["query_class"] == class_id or class_id in row["class_ids"] for row in about)


def test_caption_query_brings_images_of_its_classes_on_top(web_site: Any, served: Any, browse: Browse) -> None:
    hits = tried = 0
    for row in list(web_site.truth.values()):
        title = web_site.by_url[row["url"]]["title"]
        if row["kind"] != "base" or row["alt_is_misleading"] or not title or len(row["class_ids"]) < 2:
            continue
        top = pages(browse, title)[0]["results"][:2]
        wanted = set(row["class_ids"])
        hits += sum(bool(wanted & set(web_site.truth[item["url"]]["class_ids"])) for item in top)
        tried += len(top)
    assert tried >= 10
    assert hits >= 0.8 * tried


def test_the_same_query_gives_the_same_order(served: Any, browse: Browse) -> None:
    assert pages(browse, "a dog and a man") == pages(browse, "a dog and a man")


def test_the_api_asks_for_patience_once_per_query(served: Any, browse: Browse) -> None:
    queries = [f"{API}?q={name}&page_size={size}" for name in CLASS_NAMES[1:] for size in (5, 10, 20)]
    first, again = get(browse, *queries), get(browse, *queries)
    refused = [answer for answer in first if answer[0] == 429]
    assert 1 <= len(refused) <= 4
    assert {answer[1]["Retry-After"] for answer in refused} == {"1"}
    assert {answer[0] for answer in again} == {200}


def test_rate_limit_counts_searches_and_not_images(web_site: Any, served: Any, browse: Browse) -> None:
    async def visit(session: aiohttp.ClientSession) -> list[int]:
        statuses = []
        for number in range(50):
            async with session.get(API, params={"q": f"cat {number}"}) as response:
                statuses.append(response.status)
            async with session.get(f"http://photos.miniweb.test/none{number}.jpg"):
                pass
        return statuses

    assert browse(visit).count(429) == 2
