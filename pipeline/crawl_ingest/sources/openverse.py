"""The Openverse image search API (https://api.openverse.org/v1/, documentation read 2026-11)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.checks.licence import canonical, codes
from pipeline.crawl_ingest.fetch.downloader import Downloader, Fetched
from pipeline.crawl_ingest.fetch.network import SITE
from pipeline.crawl_ingest.sources.base import (
    Candidate,
    Query,
    SearchError,
    address,
    ask,
    candidate,
    most_requests,
    no_page,
    text,
    whole,
)

API = "https://api.openverse.org/v1/images/"
CODES = ("by", "by-sa", "by-nd", "by-nc", "by-nc-sa", "by-nc-nd", "cc0", "pdm", "sampling+", "nc-sampling+")
"""Values of the parameter `license`."""
TOO_DEEP = frozenset({400, 401})
"""What a page beyond the service's depth is answered with; who is not registered sees some hundred results."""


class Openverse:
    """Openly licensed images of many museums and photo sites."""

    def __init__(self, settings: CrawlIngest, downloader: Downloader) -> None:
        self.at_once = settings.connections_per_host
        self._api, self._page_size = settings.api or API, settings.page_size
        self._licences = sorted(set(CODES) & codes(settings.licences))
        self._downloader = downloader

    def key(self, query: Query, limit: int) -> list[Any]:
        """Return the parts of the request, and which mini web answers."""
        parts = [self._api, query["text"], limit, self._page_size, os.environ.get(SITE, "")]
        return [*parts, self._licences] if self._licences else parts

    async def fetch(self, url: str) -> Fetched:
        """Return the bytes of an address."""
        return await self._downloader.fetch(url)

    async def search(self, query: Query, limit: int) -> AsyncIterator[Candidate]:
        """Yield up to `limit` candidates in the order of the service. Raises SearchError."""
        found, page = 0, 1
        while found < limit and page <= most_requests(limit, self._page_size):
            size = min(self._page_size, limit)
            parameters = {"q": query["text"], "page": page, "page_size": size}
            if self._licences:
                parameters["license"] = ",".join(self._licences)
            try:
                answer, _ = await ask(self._downloader, self._api, parameters)
            except SearchError as error:
                # `page_count` may promise pages that are then refused: what was found before is the answer.
                if page > 1 and error.status in TOO_DEEP:
                    return
                raise
            results, pages = _page(answer, address(self._api, parameters))
            usable = [item for item in results if isinstance(item, dict) and item.get("url")]
            for item in usable[: limit - found]:
                yield _candidate(item)
                found += 1
            page += 1
            if not usable or page > pages:
                return


def _page(answer: Any, shown: str) -> tuple[list[Any], int]:
    results = answer.get("results") if isinstance(answer, dict) else None
    pages = whole(answer.get("page_count", 1)) if isinstance(answer, dict) else None
    if not isinstance(results, list) or pages is None:
        raise no_page(shown)
    return results, pages


def _candidate(item: dict[str, Any]) -> Candidate:
    return candidate(
        url=item["url"],
        page_url=item.get("foreign_landing_url"),
        licence=canonical(f"{text(item.get('license'), 100)} {text(item.get('license_version'), 20)}"),
        creator=item.get("creator"),
        title=item.get("title"),
        source=item.get("source"),
    )
