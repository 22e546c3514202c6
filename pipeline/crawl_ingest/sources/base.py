"""What a source is, what a candidate holds, and how a documented API is asked for JSON."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol
from urllib.parse import urlencode

from pipeline.artifacts.rows import QueryRow
from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.fetch.downloader import Downloader, Fetched
from pipeline.crawl_ingest.fetch.host import FetchError

Candidate = dict[str, str]
"""url, page_url, licence (as `licence.canonical` writes it), creator, title, source, sha256 (empty if not stated)."""

Query = QueryRow


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
    """Return a candidate; fields that are not given are empty, texts are made storable."""
    empty = dict.fromkeys(("url", "page_url", "licence", "creator", "title", "source", "sha256"), "")
    assert set(fields) <= set(empty), fields
    return {**empty, **{name: text(value) for name, value in fields.items()}}


def text(value: Any) -> str:
    """Return a value as text that SQLite and Parquet can store: JSON may carry lone surrogates."""
    return "" if value is None else str(value).encode("utf-8", "replace").decode()


async def ask(downloader: Downloader, api: str, parameters: Mapping[str, Any], hidden: str = "") -> tuple[Any, Fetched]:
    """Return the parsed JSON of an API's answer, and the answer.

    `hidden` names the parameter that is a secret; it appears in no message. Raises SearchError.
    """
    shown = address(api, {name: value for name, value in parameters.items() if name != hidden})
    try:
        fetched = await downloader.fetch(address(api, parameters), api=True)
    except FetchError as error:
        message = f"search {shown} failed: {error.reason} {error.status or ''}".rstrip()
        raise SearchError(message, error.status) from None
    try:
        return json.loads(fetched.body), fetched
    except (ValueError, RecursionError):
        raise no_page(shown) from None


def service(settings: CrawlIngest, usual: str) -> str:
    """Return the address of an API: the configured one, unless that is the mini web's, which speaks Openverse alone."""
    return usual if not settings.api or "miniweb.test" in settings.api else settings.api


def address(api: str, parameters: Mapping[str, Any]) -> str:
    """Return the address of a request."""
    return f"{api}?{urlencode(parameters)}"


def no_page(shown: str) -> SearchError:
    """Return the error for an answer of another shape."""
    return SearchError(f"search {shown} did not answer with a page of results")
