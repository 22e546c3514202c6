"""The manifest of a plan: the rows of all its shards, with duplicates across shards marked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.artifacts import INGEST, MANIFEST, QUERIES, read_table, write_table
from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.duplicates import HashIndex
from pipeline.crawl_ingest.reasons import KEPT, status_of


def merge(queries: Path, shards: Sequence[Path], settings: CrawlIngest, out: Path) -> None:
    """Write the manifest. Of two equal images the one with the earlier query and rank is kept.

    Raises ValueError if a shard holds a query that is not in `queries`.
    """
    asked = {row["query_id"]: (order, row) for order, row in enumerate(read_table(queries, QUERIES))}
    rows = []
    for path in shards:
        for row in read_table(path, INGEST):
            if row["query_id"] not in asked:
                raise ValueError(f"{path} answers query {row['query_id']}, which is not in {queries}; crawl it again")
            order, query = asked[row["query_id"]]
            extra = {
                "shard": path.stem,
                "query_text": query["text"],
                **{key: query[key] for key in ("kind", "class_ids", "source_image_id")},
            }
            rows.append((order, row["rank"], {**row, **extra}))
    rows.sort(key=lambda item: item[:2])
    ids: set[str] = set()
    near = HashIndex(settings.near_duplicate_bits)
    for _, _, row in rows:
        if row["reason"] != KEPT:
            continue
        if row["image_id"] in ids:
            row["reason"] = "duplicate_exact"
        elif near.near(row["phash"]):
            row["reason"] = "duplicate_near"
        else:
            ids.add(row["image_id"])
            near.add(row["phash"])
        row["status"] = status_of(row["reason"])
    write_table(out, [row for _, _, row in rows], MANIFEST)
