"""Flickr's photo search.

Documentation read 2026-11: https://www.flickr.com/services/api/flickr.photos.search.html and
flickr.photos.licenses.getInfo.html. The key comes from the environment and is never written anywhere.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.checks.licence import allows, canonical
from pipeline.crawl_ingest.fetch.downloader import Downloader, Fetched
from pipeline.crawl_ingest.fetch.host import MAX_WAIT
from pipeline.crawl_ingest.sources.base import (
    LENGTHS,
    Candidate,
    Query,
    SearchError,
    ask,
    candidate,
    most_requests,
    service,
    text,
    whole,
)

API = "https://api.flickr.com/services/rest/"
KEY = "FLICKR_API_KEY"
MAX_RESULTS = 4000
"""Flickr returns no more for one search; later pages repeat earlier ones."""
MAX_PAGE = 500
SIZES = ("url_l", "url_c", "url_z", "url_o", "url_m")
"""1024, 800 and 640 pixels, the original, 500 pixels: the first that exists is taken."""
BUSY = frozenset({105, 106})


class Flickr:
    """Public, safe photographs. With an allow-list of licences the service is asked for those alone."""

    at_once = 1

    def __init__(self, settings: CrawlIngest, downloader: Downloader) -> None:
        self._key = os.environ.get(KEY, "")
        if not self._key:
            raise SearchError(f"source flickr needs your API key in the environment variable {KEY}, and it is not set")
        self._api, self._retries = service(settings, API), settings.retries
        self._page_size, self._allowed = min(settings.page_size, MAX_PAGE), settings.licences
        self._downloader = downloader
        self._licences: dict[str, str] = {}

    def key(self, query: Query, limit: int) -> list[Any]:
        """Return the parts of the request without the user's key."""
        return ["flickr", self._api, query["text"], limit, self._page_size, sorted(self._allowed)]

    async def fetch(self, url: str) -> Fetched:
        """Return the bytes of an address."""
        return await self._downloader.fetch(url)

    async def search(self, query: Query, limit: int) -> AsyncIterator[Candidate]:
        """Yield up to `limit` photographs, most relevant first. Raises SearchError, also if no licence is allowed."""
        self._licences = self._licences or await self._known_licences()
        ids = [number for number, name in self._licences.items() if allows(self._allowed, name)]
        if not ids:
            raise SearchError(f"no licence of Flickr is on the allow-list {list(self._allowed)}")
        seen: set[str] = set()
        limit, page, pages = min(limit, MAX_RESULTS), 1, 1
        while len(seen) < limit and page <= min(pages, most_requests(limit, self._page_size)):
            answer = await self._ask("flickr.photos.search", self._parameters(query["text"], page, ids))
            photos, pages = _page(answer, query["text"])
            for photo in photos:
                if text(photo["id"], 100) in seen or not _address(photo) or len(seen) >= limit:
                    continue
                seen.add(text(photo["id"], 100))
                yield self._candidate(photo)
            if not photos:
                return
            page += 1

    def _parameters(self, words: str, page: int, ids: list[str]) -> dict[str, Any]:
        return {
            "text": words, "license": ",".join(ids), "media": "photos", "content_types": 0, "safe_search": 1,
            "sort": "relevance", "extras": ",".join(("license", "owner_name", *SIZES)), "per_page": self._page_size,
            "page": page,
        }  # fmt: skip

    async def _known_licences(self) -> dict[str, str]:
        answer = await self._ask("flickr.photos.licenses.getInfo", {})
        try:
            entries = answer["licenses"]["license"]
            return {text(entry["id"], 20): _licence(entry) for entry in entries}
        except (KeyError, TypeError, AttributeError):
            raise SearchError("flickr.photos.licenses.getInfo did not answer with a list of licences") from None

    async def _ask(self, method: str, parameters: dict[str, Any]) -> Any:
        request = {"method": method, "format": "json", "nojsoncallback": 1, **parameters, "api_key": self._key}
        for attempt in range(self._retries + 1):
            answer, _ = await ask(self._downloader, self._api, request, hidden="api_key")
            if not isinstance(answer, dict) or answer.get("stat") != "fail":
                return answer
            code = whole(answer.get("code"))
            if code not in BUSY or attempt == self._retries:
                said = text(answer.get("message"), 500).replace(self._key, "...")
                raise SearchError(f"{method} failed: {code} {said}")
            await asyncio.sleep(min(0.5 * 2**attempt, MAX_WAIT))
        raise AssertionError("unreachable")

    def _candidate(self, photo: dict[str, Any]) -> Candidate:
        return candidate(
            url=_address(photo),
            page_url=f"https://www.flickr.com/photos/{text(photo.get('owner'), 100)}/{text(photo['id'], 100)}",
            licence=self._licences.get(text(photo.get("license"), 20), ""),
            creator=photo.get("ownername"),
            title=photo.get("title"),
            source="flickr",
        )


def _licence(entry: dict[str, Any]) -> str:
    deed = canonical(text(entry.get("url"), 200))
    return deed if deed and "/" not in deed else canonical(text(entry["name"], 200))


def _page(answer: Any, words: str) -> tuple[list[dict[str, Any]], int]:
    photos = answer.get("photos") if isinstance(answer, dict) else None
    found = photos.get("photo") if isinstance(photos, dict) else None
    pages = whole(photos.get("pages")) if isinstance(photos, dict) else None
    if not isinstance(found, list) or pages is None:
        raise SearchError(f"flickr.photos.search for {words!r} did not answer with a page of results")
    return [photo for photo in found if isinstance(photo, dict) and text(photo.get("id"))], pages


def _address(photo: dict[str, Any]) -> str:
    return next((address for size in SIZES if (address := text(photo.get(size), LENGTHS["url"]))), "")
