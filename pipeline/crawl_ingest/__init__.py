"""Queries, polite download, content checks, duplicates and shards. `python -m pipeline.crawl_ingest --help`."""

from __future__ import annotations

from typing import Any

STAGE_VERSION = 1


def __getattr__(name: str) -> Any:
    if name == "ingest":
        from pipeline.crawl_ingest.crawl import ingest

        return ingest
    raise AttributeError(name)
