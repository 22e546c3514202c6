"""The Openverse image search API (https://api.openverse.org/v1/, documentation read 2026-11)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

from pipeline.crawl_ingest.downloader import Downloader
from pipeline.crawl_ingest.host import FetchError


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
        usable = [item for item in results if isinstance(item, dict) and item.get("url")]
        for item in usable[: limit - found]:
            yield _candidate(item)
            found += 1
        page += 1
        if not usable or page > pages:
            return


async def _page(downloader: Downloader, url: str) -> tuple[list[Any], int]:
    try:
        fetched = await downloader.fetch(url, patient=True)
    except FetchError as error:
        raise SearchError(f"search {url} failed: {error.reason} {error.status or ''}".rstrip()) from None
    try:
        answer = json.loads(fetched.body)
        return list(answer["results"]), int(answer.get("page_count", 1))
    except (KeyError, TypeError, ValueError, RecursionError):
        raise SearchError(f"search {url} did not answer with a page of results") from None


def _candidate(item: dict[str, Any]) -> dict[str, Any]:
    return {
        "url": _text(item, "url"),
        "page_url": _text(item, "foreign_landing_url"),
        "licence": f"{_text(item, 'license')} {_text(item, 'license_version')}".strip(),
        "creator": _text(item, "creator"),
        "title": _text(item, "title"),
        "source": _text(item, "source"),
    }


def _text(item: dict[str, Any], key: str) -> str:
    # JSON may carry lone surrogates, which neither SQLite nor Parquet can store.
    return str(item.get(key) or "").encode("utf-8", "replace").decode()
