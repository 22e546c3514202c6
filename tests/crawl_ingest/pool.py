"""A pool of one shard with six images, crawled from a list of addresses."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.artifacts import INGEST, QUERIES, read_table, write_table
from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.__main__ import main
from pipeline.crawl_ingest.crawl import ingest
from tests.crawl_ingest.asking import query
from tests.protocols import protocol_at


def jpeg(seed: int) -> bytes:
    values = np.random.default_rng(seed).integers(0, 255, (9, 12, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(values).resize((120, 90), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


class Pool:
    """A pool of one shard, crawled from a list of addresses."""

    def __init__(self, folder: Path, licence: str = "by 4.0", **settings: Any) -> None:
        self.folder, self.out = folder, folder / "pool" / "shards" / "step1-00000.tar"
        rows = [["url", "text", "license", "creator"]]
        rows += [[f"http://a.test/{i}", f'=cmd("{i}") cat', licence, "Zoë | Ann"] for i in range(6)]
        with open(folder / "list.csv", "w", newline="") as stream:
            csv.writer(stream).writerows(rows)
        self.settings = CrawlIngest(
            source="url_list", path=str(folder / "list.csv"), timeout=1.0, retries=0, shards=1, **settings
        )
        write_table(folder / "q.parquet", [query("cat")], QUERIES)
        protocol_at(folder / "step0.json")

    def ingest(self, retry: list[str] | None = None) -> list[str]:
        ingest(
            self.folder / "q.parquet", self.out.stem, self.folder / "step0.json", self.settings, self.out, retry or ()
        )
        return [row["reason"] for row in read_table(self.out.with_suffix(".parquet"), INGEST)]

    def run(self, *words: str) -> int:
        return main([*words, "--settings", json.dumps({"crawl_ingest": self.settings.model_dump()})])
