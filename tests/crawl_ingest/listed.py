"""A crawl of a list of addresses, in one call."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.artifacts import INGEST, QUERIES, read_table, write_table
from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.crawl import ingest
from tests.crawl_ingest.asking import query
from tests.protocols import protocol_at

AGENT = "web-continual-segmentation/0.1 (me@example.com)"


def crawl(folder: Path, urls: list[str], **more: Any) -> list[dict[str, Any]]:
    pq.write_table(pa.table({"url": urls, "query": ["cat"] * len(urls)}), folder / "list.parquet")
    values: dict[str, Any] = {"timeout": 5.0, "retries": 0, "connections": 8, "connections_per_host": 8, **more}
    chosen = CrawlIngest(source="url_list", path=str(folder / "list.parquet"), shards=1, user_agent=AGENT, **values)
    write_table(folder / "q.parquet", [query("cat")], QUERIES)
    protocol_at(folder / "step0.json")
    out = folder / "pool" / "shards" / "step1-00000.tar"
    ingest(folder / "q.parquet", out.stem, folder / "step0.json", chosen, out)
    return read_table(out.with_suffix(".parquet"), INGEST)
