"""What a source is, what a candidate holds, and how a documented API is asked for JSON."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol
from urllib.parse import urlencode

from pipeline.artifacts.rows import QueryRow
from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.fetch.addresses import MAX_ADDRESS
from pipeline.crawl_ingest.fetch.downloader import Downloader, Fetched
from pipeline.crawl_ingest.fetch.host import FetchError

Candidate = dict[str, str]
"""url, page_url, licence (as `licence.canonical` writes it), creator, title, source, sha256 (empty if not stated)."""

Query = QueryRow


LENGTHS = {
    "url": MAX_ADDRESS + 1, "page_url": 2048, "licence": 200, "creator": 500, "title": 2000, "source": 100,
    "sha256": 64,
}  # fmt: skip
"""Characters that are kept of each field; an address that is longer is refused, not shortened."""
MAX_VALUES = 1_000_000
"""Values and separators of an API's page; one of 500 results has some 50,000."""
ENDLESS = 10**9
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)


class SearchError(ValueError):
    """A source does not work, or answered with something that is not a page of results.

    `status` is the HTTP status if the source answered with an error, else 0.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Source(Protocol):
    """One place that is searched. `at_once` searches may run at a time."""

    at_once: int

    def key(self, query: Query, limit: int) -> list[Any]:
        """Return what the answer to a query depends on; finished searches are remembered under it. No secrets."""

    def search(self, query: Query, limit: int) -> AsyncIterator[Candidate]:
        """Yield at most `limit` candidates, best first. Raises SearchError naming the query."""

    async def fetch(self, url: str) -> Fetched:
        """Return the bytes of a candidate. Raises FetchError."""


def candidate(**fields: Any) -> Candidate:
    """Return a candidate; fields that are not given are empty, texts are made storable and cut to LENGTHS."""
    empty = dict.fromkeys(LENGTHS, "")
    assert set(fields) <= set(empty), fields
    return {**empty, **{name: text(value, LENGTHS[name]) for name, value in fields.items()}}


def text(value: Any, length: int = 2000) -> str:
    """Return a value as text that SQLite and Parquet can store, cut to a length.

    JSON may carry lone surrogates; lists and objects where a text belongs are no text.
    """
    if not isinstance(value, str):
        if isinstance(value, bool) or not isinstance(value, int | float):
            return ""
        value = str(value)
    return str(value[:length]).encode("utf-8", "replace").decode()


def whole(value: Any) -> int | None:
    """Return a number that an API states, None if it is something else; one that is infinite or none is a billion."""
    if isinstance(value, str) and value.isdecimal() and len(value) < 10:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if math.isfinite(value) else ENDLESS


def most_requests(limit: int, page_size: int) -> int:
    """Return how often a search may ask for pages: several times what full ones would need, then it ends.

    A service may give twenty results a page whatever it is asked for.
    """
    return 10 + 4 * math.ceil(limit / min(page_size, 20))


async def ask(downloader: Downloader, api: str, parameters: Mapping[str, Any], hidden: str = "") -> tuple[Any, Fetched]:
    """Return the parsed JSON of an API's answer, and the answer.

    `hidden` names the parameter that is a secret; it appears in no message. Raises SearchError.
    """
    shown = address(api, {name: value for name, value in parameters.items() if name != hidden})
    try:
        fetched = await downloader.fetch(address(api, parameters), api=True)
    except FetchError as error:
        message = f"search {shown[:2000]} failed: {error.reason} {error.status or ''}".rstrip()
        raise SearchError(message, error.status) from None
    try:
        # Beside the event loop: an answer may have twenty megabytes.
        if len(fetched.body) > 200_000:
            return await asyncio.to_thread(_parsed, fetched.body), fetched
        return _parsed(fetched.body), fetched
    except (ValueError, RecursionError):
        raise no_page(shown) from None


def _parsed(body: bytes) -> Any:
    # Twenty megabytes of brackets would become a gigabyte of lists. Titles may hold as many as they like.
    if _values(body) > MAX_VALUES and _values(_STRINGS.sub(b"", body)) > MAX_VALUES:
        raise ValueError
    return json.loads(body, parse_int=_integer)


def _values(body: bytes) -> int:
    return sum(body.count(sign) for sign in (b",", b"[", b"{"))


def _integer(digits: str) -> int | float:
    # Python refuses to read thousands of digits; one field must not cost the page.
    return int(digits) if len(digits) < 20 else float(digits)


def service(settings: CrawlIngest, usual: str) -> str:
    """Return the address of an API: the configured one, unless that is the mini web's, which speaks Openverse alone."""
    return usual if not settings.api or "miniweb.test" in settings.api else settings.api


def address(api: str, parameters: Mapping[str, Any]) -> str:
    """Return the address of a request."""
    return f"{api}?{urlencode(parameters)}"


def no_page(shown: str) -> SearchError:
    """Return the error for an answer of another shape."""
    return SearchError(f"search {shown[:2000]} did not answer with a page of results")
