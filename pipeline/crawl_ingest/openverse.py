"""The Openverse image search API (https://api.openverse.org/v1/, documentation read 2026-11)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

from pipeline.crawl_ingest.downloader import Downloader, FetchError


class SearchError(ValueError):
    """The search service answered with something that is not a result page."""


async def search(
    downloader: Downloader, api: str, text: str, limit: int, page_size: int
) -> AsyncIterator[dict[str, Any]]:
    """Yield up to `limit` candidates: url, page_url, licence, creator, title, source.

    Raises SearchError naming the query if the service fails or answers something else than a page of results.
    """
    found, page = 0, 1
    while found < limit:
        size = min(page_size, limit)
        results, pages = await _page(downloader, f"{api}?{urlencode({'q': text, 'page': page, 'page_size': size})}")
        for item in results:
            if found < limit and isinstance(item, dict) and item.get("url"):
                yield _candidate(item)
                found += 1
        page += 1
        if not results or page > pages:
            return


async def _page(downloader: Downloader, url: str) -> tuple[list[Any], int]:
    try:
        fetched = await downloader.fetch(url, patient=True)
    except FetchError as error:
        raise SearchError(f"search {url} failed: {error.reason} {error.status or ''}".rstrip()) from None
    try:
        answer = json.loads(fetched.body)
        return list(answer["results"]), int(answer.get("page_count", 1))
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError):
        raise SearchError(f"search {url} did not answer with a page of results") from None


def _candidate(item: dict[str, Any]) -> dict[str, Any]:
    version = item.get("license_version") or ""
    return {
        "url": str(item["url"]),
        "page_url": str(item.get("foreign_landing_url") or ""),
        "licence": f"{item.get('license') or ''} {version}".strip(),
        "creator": str(item.get("creator") or ""),
        "title": str(item.get("title") or ""),
        "source": str(item.get("source") or ""),
    }
