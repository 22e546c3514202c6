"""Wikimedia Commons by the MediaWiki action API.

Documentation read 2026-11: https://www.mediawiki.org/wiki/API:Search, API:Imageinfo, API:Continue,
Manual:Maxlag_parameter, API:Etiquette. One request at a time, a contact in the user agent, maxlag=5.
"""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import AsyncIterator
from typing import Any

from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.checks.licence import canonical
from pipeline.crawl_ingest.fetch.downloader import Downloader, Fetched
from pipeline.crawl_ingest.fetch.host import MAX_WAIT
from pipeline.crawl_ingest.sources.base import (
    Candidate,
    Query,
    SearchError,
    address,
    ask,
    candidate,
    most_requests,
    no_page,
    service,
    text,
)

API = "https://commons.wikimedia.org/w/api.php"
MAX_PAGE = 50
"""`iiurlwidth` scales at most 50 images an answer."""
THUMBNAIL = 960
"""Pixels; one of the widths that Wikimedia renders anyway. Originals are often tens of megabytes."""
BUSY = frozenset({"maxlag", "ratelimited", "readonly"})
MAX_FIELD = 20_000
"""Characters that are read of a field; descriptions are pages of HTML at times."""
MAX_NAME = 200
"""Characters of a licence's name or address."""
MAX_CONTINUE = 1_000
"""Characters of what an answer asks to be sent back for the next one."""
_TAG = re.compile(r"<[^<>]*>")


class Commons:
    """Freely licensed files of Wikimedia projects."""

    at_once = 1

    def __init__(self, settings: CrawlIngest, downloader: Downloader) -> None:
        self._api, self._retries = service(settings, API), settings.retries
        self._page_size = min(settings.page_size, MAX_PAGE)
        self._downloader = downloader

    def key(self, query: Query, limit: int) -> list[Any]:
        """Return the parts of the request."""
        return ["commons", self._api, query["text"], limit, self._page_size]

    async def fetch(self, url: str) -> Fetched:
        """Return the bytes of an address."""
        return await self._downloader.fetch(url)

    async def search(self, query: Query, limit: int) -> AsyncIterator[Candidate]:
        """Yield up to `limit` raster images in the order of the search. Raises SearchError."""
        found = 0
        more: dict[str, Any] = {}
        batch: dict[str, dict[str, Any]] = {}
        for _ in range(most_requests(limit, self._page_size)):
            # What an answer asks to be sent back stands first: it changes none of our own parameters.
            answer = await self._ask({**more, **self._parameters(query["text"])})
            for page in _pages(answer):
                # An answer may hold a page's title now and its image information after a `continue`.
                batch.setdefault(text(page.get("pageid")), {}).update(page)
            more = _continued(answer)
            if "batchcomplete" in answer or not more:
                ready = [c for page in sorted(batch.values(), key=_rank) if (c := _candidate(page))]
                batch = {}
                for item in ready[: limit - found]:
                    yield item
                    found += 1
            if not more or found >= limit:
                return

    def _parameters(self, words: str) -> dict[str, Any]:
        return {
            "action": "query", "format": "json", "formatversion": 2, "maxlag": 5, "generator": "search",
            "gsrsearch": f"{words} filetype:bitmap", "gsrnamespace": 6, "gsrlimit": self._page_size,
            "prop": "imageinfo", "iiprop": "url|size|mime|extmetadata", "iiurlwidth": THUMBNAIL,
            "iiextmetadatafilter": "LicenseShortName|LicenseUrl|Artist|ObjectName|ImageDescription",
        }  # fmt: skip

    async def _ask(self, parameters: dict[str, Any]) -> dict[str, Any]:
        shown = address(self._api, parameters)
        for attempt in range(self._retries + 1):
            answer, fetched = await ask(self._downloader, self._api, parameters)
            if not isinstance(answer, dict) or not isinstance(answer.get("continue") or {}, dict):
                raise no_page(shown)
            error = answer.get("error")
            if error is None:
                return answer
            code = text(error.get("code") if isinstance(error, dict) else error, 200)
            wait = 5.0 if fetched.retry_after is None else fetched.retry_after
            if code not in BUSY or attempt == self._retries or wait > MAX_WAIT:
                raise SearchError(f"search {shown} failed: {code}")
            await asyncio.sleep(wait)
        raise AssertionError("unreachable")


def _continued(answer: dict[str, Any]) -> dict[str, str]:
    more = {name: text(value) for name, value in (answer.get("continue") or {}).items()}
    return more if sum(len(name) + len(value) for name, value in more.items()) <= MAX_CONTINUE else {}


def _pages(answer: dict[str, Any]) -> list[dict[str, Any]]:
    # A search without results has no `query` at all.
    query = answer.get("query") or {}
    pages = query.get("pages") if isinstance(query, dict) else None
    return [page for page in pages if isinstance(page, dict)] if isinstance(pages, list) else []


def _rank(page: dict[str, Any]) -> float:
    index = page.get("index")
    return float(index) if isinstance(index, int | float) and index == index else float("inf")


def _candidate(page: dict[str, Any]) -> Candidate | None:
    infos = page.get("imageinfo")
    info = infos[0] if isinstance(infos, list) and infos and isinstance(infos[0], dict) else {}
    address = info.get("thumburl") or info.get("url")
    if not address:
        return None
    about = info.get("extmetadata") if isinstance(info.get("extmetadata"), dict) else {}
    licence = canonical(_plain(about, "LicenseUrl")[:MAX_NAME])
    return candidate(
        url=address,
        page_url=info.get("descriptionurl"),
        licence=licence if licence and "/" not in licence else canonical(_plain(about, "LicenseShortName")[:MAX_NAME]),
        creator=_plain(about, "Artist"),
        title=_plain(about, "ObjectName") or text(page.get("title")).removeprefix("File:"),
        source="commons",
    )


def _plain(about: Any, name: str) -> str:
    # Values are HTML fragments written by the uploaders.
    entry = about.get(name)
    value = text(entry.get("value"), MAX_FIELD) if isinstance(entry, dict) else ""
    return " ".join(html.unescape(_TAG.sub(" ", value)).split())
