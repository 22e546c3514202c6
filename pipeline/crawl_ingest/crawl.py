"""Ingestion of one shard: search, download, check, de-duplicate, and write tar, table and statistics."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import tarfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.artifacts import INGEST, QUERIES, atomic_path, read_json, read_table, write_json, write_table
from pipeline.config import CrawlIngest
from pipeline.crawl_ingest import openverse
from pipeline.crawl_ingest.downloader import Downloader
from pipeline.crawl_ingest.duplicates import HashIndex
from pipeline.crawl_ingest.host import FetchError
from pipeline.crawl_ingest.intake import IntakeError, accept, perceptual_hash
from pipeline.crawl_ingest.network import SITE
from pipeline.crawl_ingest.plan import query_limit
from pipeline.crawl_ingest.reasons import KEPT, status_of
from pipeline.crawl_ingest.state import Outcome, PoolState
from pipeline.progress import Progress

Row = dict[str, Any]


def ingest(queries: Path, shard: str, protocol: Path, settings: CrawlIngest, out: Path) -> dict[str, int]:
    """Write <shard>.tar, .parquet and .stats.json beside `out` (the tar) and return the counts by reason.

    The rows depend on what the web answers, not on the order of arrival or on earlier interruptions.
    The pool's state lies in the folder above that of `out`.
    Raises SearchError if the search service does not work, ValueError if `shard` is no shard's name.
    """
    plan, _, number = shard.rpartition("-")
    if not plan or not number.isdecimal():
        raise ValueError(f"got shard {shard!r}, expected <plan>-<number> such as base-00000")
    rows = [row for row in read_table(queries, QUERIES) if row["shard"] == int(number)]
    state = PoolState(out.absolute().parents[1], _policy(settings))
    try:
        candidates = asyncio.run(_crawl(rows, plan, settings, state, shard))
        table = _decide(candidates, state, settings, _evaluation_hashes(protocol, settings))
        _write(out, table, state)
    finally:
        state.close()
    counts = Counter(row["reason"] or "kept" for row in table)
    assert sum(counts.values()) == len(candidates)
    write_json(out.with_suffix("").with_suffix(".stats.json"), {"tried": len(table), **counts})
    return dict(counts)


def _policy(settings: CrawlIngest) -> str:
    # SITE tells one mini web from another that has the same addresses; on the open web it is empty.
    limits = settings.model_dump(include={"max_bytes", "max_pixels", "min_side", "user_agent"})
    limits["site"] = os.environ.get(SITE, "")
    return hashlib.sha256(json.dumps(limits, sort_keys=True).encode()).hexdigest()[:12]


async def _crawl(queries: Sequence[Row], plan: str, settings: CrawlIngest, state: PoolState, shard: str) -> list[Row]:
    async with Downloader(settings) as downloader:
        limit = query_limit(plan, settings)
        gate = asyncio.Semaphore(settings.connections_per_host)
        found = await asyncio.gather(*(_search(downloader, q, limit, settings, state, gate) for q in queries))
        candidates = [candidate for group in found for candidate in group]
        todo = [url for url in dict.fromkeys(c["url"] for c in candidates) if state.outcome(url) is None]
        progress = Progress(f"ingest {shard}", len(todo), unit="addresses")
        tally: Counter[str] = Counter()
        # A fixed crew of workers keeps memory flat in the number of addresses.
        pending = iter(todo)

        async def work(decoder: Executor) -> None:
            for url in pending:
                outcome = await _download(downloader, url, settings, state, decoder)
                tally[status_of(outcome.reason)] += 1
                progress.update(note=", ".join(f"{count} {status}" for status, count in sorted(tally.items())))

        # Decoding beside the event loop: large images must not make the others' answers look late.
        with ThreadPoolExecutor(1) as decoder:
            await asyncio.gather(*(work(decoder) for _ in range(settings.connections)))
    return candidates


async def _search(
    downloader: Downloader,
    query: Row,
    limit: int,
    settings: CrawlIngest,
    state: PoolState,
    gate: asyncio.Semaphore,
) -> list[Row]:
    key = json.dumps([settings.api, query["text"], limit, settings.page_size, os.environ.get(SITE, "")])
    found = state.search(key)
    if found is None:
        async with gate:
            pages = openverse.search(downloader, settings.api, query["text"], limit, settings.page_size)
            found = [candidate async for candidate in pages]
        state.remember(key, found)
    return [{**item, "query_id": query["query_id"], "rank": rank} for rank, item in enumerate(found)]


async def _download(
    downloader: Downloader, url: str, settings: CrawlIngest, state: PoolState, decoder: Executor
) -> Outcome:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        fetched = await downloader.fetch(url)
    except FetchError as error:
        outcome = Outcome(url, error.reason, error.url, error.status, fetched_at=now)
        state.finish(outcome)
        return outcome
    try:
        image = await asyncio.get_running_loop().run_in_executor(decoder, accept, fetched.body, settings)
    except IntakeError as error:
        outcome = Outcome(url, error.reason, fetched.final_url, fetched.status, bytes=len(fetched.body), fetched_at=now)
        state.finish(outcome)
        return outcome
    outcome = Outcome(
        url, KEPT, fetched.final_url, fetched.status, image.image_id, image.width, image.height, len(image.data),
        image.phash, now,
    )  # fmt: skip
    # Syncing to disk takes longer than decoding; several at once share the wait.
    await asyncio.to_thread(state.spool, image.image_id, image.data)
    state.finish(outcome)
    return outcome


def _evaluation_hashes(protocol: Path, settings: CrawlIngest) -> HashIndex:
    from pipeline.datasets.images import open_image

    index = HashIndex(settings.near_duplicate_bits)
    for row in read_json(protocol)["val"]:
        index.add(perceptual_hash(open_image(row["image"])))
    return index


def _decide(candidates: Sequence[Row], state: PoolState, settings: CrawlIngest, evaluation: HashIndex) -> list[Row]:
    # Duplicates are decided after all downloads, in query order and rank, so that arrival does not matter.
    urls: set[str] = set()
    ids: set[str] = set()
    near = HashIndex(settings.near_duplicate_bits)
    rows = []
    for candidate in candidates:
        outcome = state.outcome(candidate["url"])
        assert outcome is not None
        reason = outcome.reason
        if candidate["url"] in urls:
            reason = "duplicate_url"
        elif reason == KEPT and outcome.image_id in ids:
            reason = "duplicate_exact"
        elif reason == KEPT and evaluation.near(outcome.phash):
            reason = "duplicate_of_evaluation"
        elif reason == KEPT and near.near(outcome.phash):
            reason = "duplicate_near"
        urls.add(candidate["url"])
        if reason == KEPT:
            ids.add(outcome.image_id)
            near.add(outcome.phash)
        rows.append(_row(candidate, outcome, reason))
    return rows


def _row(candidate: Row, outcome: Outcome, reason: str) -> Row:
    return {
        "image_id": outcome.image_id,
        "url": candidate["url"],
        "final_url": outcome.final_url,
        "page_url": candidate["page_url"],
        "query_id": candidate["query_id"],
        "rank": candidate["rank"],
        "source": candidate["source"],
        "licence": candidate["licence"],
        "creator": candidate["creator"],
        "title": candidate["title"],
        "status": status_of(reason),
        "reason": reason,
        "http_status": outcome.http_status,
        "width": outcome.width,
        "height": outcome.height,
        "bytes": outcome.bytes,
        "phash": outcome.phash,
        "fetched_at": outcome.fetched_at,
    }


def _write(out: Path, rows: Sequence[Row], state: PoolState) -> None:
    # WebDataset layout; fixed times and owners make equal content equal bytes.
    with atomic_path(out) as temporary, tarfile.open(temporary, "w") as tar:
        for row in rows:
            if row["status"] == "kept":
                about = {key: row[key] for key in ("url", "page_url", "licence", "creator", "title", "query_id")}
                _add(tar, f"{row['image_id']}.jpg", state.path(row["image_id"]).read_bytes())
                _add(tar, f"{row['image_id']}.json", json.dumps(about, sort_keys=True).encode())
    write_table(out.with_suffix(".parquet"), rows, INGEST)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
