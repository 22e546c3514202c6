"""Asking a source as a crawl does."""

import asyncio
from typing import Any

from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.fetch.downloader import Downloader
from pipeline.crawl_ingest.sources import Candidate, open_source


def query(text: str, kind: str = "class", source_image_id: str = "") -> dict[str, Any]:
    """Return a row of a query plan."""
    return {
        "query_id": "q0",
        "text": text,
        "kind": kind,
        "class_ids": [1],
        "source_image_id": source_image_id,
        "shard": 0,
    }


def search(settings: CrawlIngest, asked: dict[str, Any], limit: int = 100) -> list[Candidate]:
    """Return the candidates of one search."""

    async def run() -> list[Candidate]:
        async with Downloader(settings) as downloader:
            return [found async for found in open_source(settings, downloader).search(asked, limit)]

    return asyncio.run(run())


def fetch(settings: CrawlIngest, url: str) -> bytes:
    """Return the bytes of a candidate. Raises FetchError."""

    async def run() -> bytes:
        async with Downloader(settings) as downloader:
            return (await open_source(settings, downloader).fetch(url)).body

    return asyncio.run(run())
