"""Whole hostile responses through a whole crawl; see fuzz_intake for the command.

A child crawls a list of addresses (some of them hostile themselves) from a server whose answers come from the seed, and
then asks as many pages of a search API as a fifth of the addresses. Every address must have one row with a documented
reason, every page candidates or one line.
"""

from __future__ import annotations

import asyncio
import multiprocessing as mp
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from bench.hostile_server import HOSTS, serve
from pipeline.artifacts import INGEST, QUERIES, read_rows, write_table
from pipeline.config import CrawlIngest

SERVED = 50
"""Hosts of the server."""
PAGES = 5
"""Addresses for each page of the search API."""


def fuzz(count: int, seed: int) -> int:
    """Crawl `count` responses in a child and print what became of them; return the exit code."""
    context = mp.get_context("spawn")
    ports, port = context.Pipe()
    server = context.Process(target=serve, args=(port, seed), daemon=True)
    server.start()
    results, result = context.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        resolve = f"*.test=127.0.0.1:{ports.recv()}"
        child = context.Process(target=_crawl, args=(result, folder, resolve, count, seed), daemon=False)
        began = time.monotonic()
        child.start()
        peak = _watched(child)
    server.kill()
    if child.exitcode or not results.poll():
        print(f"seed {seed}: the crawl ended without its rows (exit code {child.exitcode})")
        return 1
    rows, reasons, longest, pages = results.recv()
    print(f"{count:,} responses in {time.monotonic() - began:.0f} s, {count - rows} without a row, longest request "
          f"{longest['request']:.1f} s, longest decoding {longest['decoding']:.1f} s (with waiting for a process), "
          f"peak memory {peak} MB of crawl and decoders together: "
          f"{dict(reasons.most_common())}")  # fmt: skip
    print(f"{count // PAGES:,} pages of a search API: {dict(pages)}")
    return int(rows != count)


def _watched(child: Any) -> int:
    """Return the peak of the resident memory of a process and all its children in megabytes."""
    peak, watched = 0, psutil.Process(child.pid)
    while child.is_alive():
        try:
            family = [watched, *watched.children(recursive=True)]
            peak = max(peak, sum(process.memory_info().rss for process in family))
        except psutil.NoSuchProcess:
            pass
        time.sleep(0.2)
    child.join()
    return peak >> 20


def _crawl(out: Connection, name: str, resolve: str, count: int, seed: int) -> None:
    folder = Path(name)
    os.environ |= {"PIPELINE_RESOLVE": resolve, "PIPELINE_HOSTS": str(folder / "hosts")}
    from pipeline.crawl_ingest.checks.decoders import Decoders
    from pipeline.crawl_ingest.crawl import ingest
    from pipeline.crawl_ingest.fetch.downloader import Downloader

    longest: dict[str, float] = {"request": 0.0, "decoding": 0.0}
    Downloader._request = _timed(Downloader._request, longest, "request")  # type: ignore[method-assign]
    Decoders.accept = _timed(Decoders.accept, longest, "decoding")  # type: ignore[method-assign]
    rng = random.Random(seed)
    urls = [_address(rng, number) for number in range(count)]
    pq.write_table(pa.table({"url": urls, "query": ["cat"] * count}), folder / "list.parquet")
    query = {"query_id": "q", "text": "cat", "kind": "class", "class_ids": [1], "source_image_id": "", "shard": 0}
    write_table(folder / "q.parquet", [query], QUERIES)
    settings = CrawlIngest(
        source="url_list", path=str(folder / "list.parquet"), per_class=count, shards=1, timeout=5.0, retries=0,
        requests_per_second=1e4, user_agent="web-continual-segmentation/0.1 (me@example.com)",
    )  # fmt: skip
    shard = folder / "pool" / "shards" / "step1-00000.tar"
    ingest(folder / "q.parquet", shard.stem, None, settings, shard)
    reasons: Counter[str] = Counter()
    for row in read_rows(shard.with_suffix(".parquet"), INGEST):
        reasons[row["reason"] or "kept"] += 1
    pages = asyncio.run(_search(count // PAGES, query))
    out.send((reasons.total(), reasons, longest, pages))


def _timed(work: Callable[..., Any], longest: dict[str, float], name: str) -> Callable[..., Any]:
    async def timed(*arguments: Any) -> Any:
        began = time.monotonic()
        try:
            return await work(*arguments)
        finally:
            longest[name] = max(longest[name], time.monotonic() - began)

    return timed


def _address(rng: random.Random, number: int) -> str:
    if rng.random() < 0.03:
        return f"http://{rng.choice(HOSTS)}/{number}"
    return f"http://h{rng.randrange(SERVED)}.test/{'private/' if rng.random() < 0.05 else ''}{number}"


async def _search(count: int, query: dict[str, Any]) -> Counter[str]:
    from pipeline.crawl_ingest.fetch.downloader import Downloader
    from pipeline.crawl_ingest.sources import SearchError, open_source

    settings = CrawlIngest(api="http://api.test/api", retries=0, timeout=5.0, requests_per_second=1e4)
    ended: Counter[str] = Counter()
    async with Downloader(settings) as downloader:
        source = open_source(settings, downloader)
        for number in range(count):
            try:
                async for _ in source.search({**query, "text": f"cat {number}"}, 20):
                    ended["candidates"] += 1
                ended["answered"] += 1
            except SearchError:
                ended["one line"] += 1
    return ended
