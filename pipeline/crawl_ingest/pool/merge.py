"""The manifest of a plan: the rows of all its shards, with duplicates across shards marked."""

from __future__ import annotations

import heapq
import resource
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pipeline.artifacts import (
    INGEST,
    MANIFEST,
    QUERIES,
    has_safety,
    read_rows,
    read_table,
    row_writer,
    with_safety,
)
from pipeline.artifacts.rows import ManifestRow, QueryRow, SafetyColumns
from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.checks.reasons import KEPT, status_of
from pipeline.crawl_ingest.faults import in_one_line
from pipeline.crawl_ingest.pool.duplicates import HashIndex, SeenTexts

Placed = tuple[int, int, ManifestRow]
"""A row after the order of its query and its rank."""
BATCH = 512
"""Rows of a shard in memory at a time."""
SPARE = 64
"""Open files beside the shards: the manifest, libraries, standard streams."""


@in_one_line
def merge(queries: Path, shards: Sequence[Path], settings: CrawlIngest, out: Path) -> None:
    """Write the manifest. Of two equal images the one with the earlier query and rank is kept.

    Raises ValueError if a shard holds a query that is not in `queries`, or if the system forbids opening all shards.
    """
    _allow_files(len(shards))
    asked = {row["query_id"]: (order, row) for order, row in enumerate(read_table(queries, QUERIES))}
    ids, near = SeenTexts(), HashIndex(settings.near_duplicate_bits)
    # Each shard is in the order of queries and ranks already.
    ordered = heapq.merge(*(_rows(path, asked, queries) for path in shards), key=lambda item: item[:2])
    scored = any(has_safety(path) for path in shards)
    blank: SafetyColumns = {"safety_score": None, "safety_threshold": None} if scored else {}
    with row_writer(out, with_safety(MANIFEST) if scored else MANIFEST) as write:
        for _, _, row in ordered:
            if row["reason"] == KEPT:
                if row["image_id"] in ids:
                    row["reason"] = "duplicate_exact"
                elif near.near(row["phash"]):
                    row["reason"] = "duplicate_near"
                else:
                    ids.add(row["image_id"])
                    near.add(row["phash"])
                row["status"] = status_of(row["reason"])
            write({**blank, **row})


def _allow_files(count: int) -> None:
    """Raise this process's limit of open files, usually 1024, as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + SPARE
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise ValueError(
            f"{count} shards are open at once, but the system allows {hard} files; raise `ulimit -Hn`, "
            "or crawl in fewer shards (crawl_ingest.shards)"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _rows(path: Path, asked: Mapping[str, tuple[int, QueryRow]], queries: Path) -> Iterator[Placed]:
    for row in read_rows(path, INGEST, BATCH):
        if row["query_id"] not in asked:
            raise ValueError(f"{path} answers query {row['query_id']}, which is not in {queries}; crawl it again")
        order, query = asked[row["query_id"]]
        found: ManifestRow = {
            **row,
            "shard": path.stem,
            "query_text": query["text"],
            "kind": query["kind"],
            "class_ids": query["class_ids"],
            "source_image_id": query["source_image_id"],
        }
        yield order, row["rank"], found
