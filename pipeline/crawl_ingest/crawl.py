"""Ingestion of one shard: search, download, check, and hand over to what writes the shard."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pipeline.artifacts import INGEST, QUERIES, read_table, with_safety
from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.checks.licence import allows
from pipeline.crawl_ingest.checks.reasons import KEPT, status_of
from pipeline.crawl_ingest.fetch.downloader import Downloader
from pipeline.crawl_ingest.fetch.host import FetchError
from pipeline.crawl_ingest.fetch.network import SITE
from pipeline.crawl_ingest.plan import query_limit
from pipeline.crawl_ingest.pool.duplicates import HashIndex
from pipeline.crawl_ingest.pool.recorder import Download, Recorder
from pipeline.crawl_ingest.pool.safety import open_safety
from pipeline.crawl_ingest.pool.shard import Place, decide, write_shard
from pipeline.crawl_ingest.pool.state import Outcome, PoolState
from pipeline.crawl_ingest.sources import Candidate, Query, Source, open_source
from pipeline.datasets.protocol_file import read_protocol
from pipeline.runtime.progress import Progress

PAGE = 256
"""Candidates recorded at a time."""


def ingest(
    queries: Path, shard: str, protocol: Path | None, settings: CrawlIngest, out: Path, retry: Collection[str] = ()
) -> dict[str, int]:
    """Write <shard>.tar, .parquet and .stats.json beside `out` (the tar) and return the counts by reason.

    The rows depend on what the web answers, not on the order of arrival or on earlier interruptions.
    The pool's state lies in the folder above that of `out`. Addresses that ended for a reason in `retry` are
    asked again. Raises SearchError if the source does not work, WeightsError if the safety model is missing,
    ValueError if `shard` is no shard's name.
    """
    plan, _, number = shard.rpartition("-")
    if not plan or not number.isdecimal():
        raise ValueError(f"got shard {shard!r}, expected <plan>-<number> such as base-00000")
    rows = [row for row in read_table(queries, QUERIES) if row["shard"] == int(number)]
    state = PoolState(out.absolute().parents[1], policy(settings))
    try:
        # Before the crawl: missing weights are to be known now and not in a day.
        safety = open_safety(settings.safety, state)
        keys = asyncio.run(_crawl(rows, plan, settings, state, shard, retry))
        if safety:
            urls = (candidate["url"] for _, candidate in _candidates(rows, keys, state))
            safety.score(urls, Progress(f"safety {shard}", state.count(keys), unit="addresses"))
        table = decide(_candidates(rows, keys, state), state, settings, evaluation_hashes(protocol, settings), safety)
        return write_shard(out, table, state, with_safety(INGEST) if safety else INGEST)
    finally:
        state.close()


def policy(settings: CrawlIngest) -> str:
    """Return the name of the limits under which an outcome holds."""
    # SITE tells one mini web from another that has the same addresses; on the open web it is empty.
    limits = settings.model_dump(include={"max_bytes", "max_pixels", "min_side", "user_agent"})
    limits |= {"site": os.environ.get(SITE, ""), "hash": 3}
    if settings.source in ("folder", "authors"):
        limits["roots"] = [str(Path(path).resolve()) for path in (settings.path, settings.replay_path)]
    return hashlib.sha256(json.dumps(limits, sort_keys=True).encode()).hexdigest()[:12]


async def _crawl(
    queries: Sequence[Query], plan: str, settings: CrawlIngest, state: PoolState, shard: str, retry: Collection[str]
) -> list[str]:
    async with Downloader(settings) as downloader:
        source = open_source(settings, downloader)
        limit, gate = query_limit(plan, settings), asyncio.Semaphore(source.at_once)
        keys = [json.dumps(source.key(query, limit)) for query in queries]
        # Equal texts of a shard are searched once.
        asked = dict(zip(keys, queries, strict=True))
        await asyncio.gather(*(_search(source, query, limit, key, state, gate) for key, query in asked.items()))
        if retry:
            state.forget(asked, retry)
        total = state.plan(keys, lambda candidate: allows(settings.licences, candidate["licence"]))
        await _download_all(source, state, settings, Progress(f"ingest {shard}", total, unit="addresses"))
    return keys


async def _search(
    source: Source, query: Query, limit: int, key: str, state: PoolState, gate: asyncio.Semaphore
) -> None:
    async with gate:
        if state.is_searched(key):
            return
        page: list[Candidate] = []
        count = 0
        async for candidate in source.search(query, limit):
            page.append(candidate)
            if len(page) == PAGE:
                state.remember(key, count, page)
                count, page = count + len(page), []
        state.remember(key, count, page)
        state.end_search(key, count + len(page))


async def _download_all(source: Source, state: PoolState, settings: CrawlIngest, progress: Progress) -> None:
    tally: Counter[str] = Counter()
    # A fixed crew of workers keeps memory flat in the number of addresses.
    pending = state.work()

    async def work(recorder: Recorder) -> None:
        for candidate in pending:
            tally[await recorder.record(await _download(source, candidate))] += 1
            progress.update(note=_note(tally))

    with Recorder(settings, state) as recorder:
        await asyncio.gather(*(work(recorder) for _ in range(settings.connections)))


def _note(tally: Counter[str]) -> str:
    parts = [f"{tally[KEPT]} kept"]
    for status in ("refused", "failed"):
        reasons = {reason: count for reason, count in tally.items() if status_of(reason) == status}
        if reasons:
            said = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
            parts.append(f"{sum(reasons.values())} {status} ({said})")
    return ", ".join(parts)


async def _download(source: Source, candidate: Candidate) -> Download:
    now, url = datetime.now(UTC).isoformat(timespec="seconds"), candidate["url"]
    try:
        fetched = await source.fetch(url)
    except FetchError as error:
        return Download(Outcome(url, error.reason, error.url, error.status, fetched_at=now))
    outcome = Outcome(url, KEPT, fetched.final_url, fetched.status, fetched_at=now)
    # The list may say what the bytes were when it was made: nobody can slip in others since.
    if candidate["sha256"] and hashlib.sha256(fetched.body).hexdigest() != candidate["sha256"].lower():
        return Download(replace(outcome, reason="other_bytes", bytes=len(fetched.body)))
    return Download(outcome, fetched.body)


def evaluation_hashes(protocol: Path | None, settings: CrawlIngest) -> HashIndex:
    """Return the perceptual hashes of all images that the protocol evaluates on, none without a protocol."""
    from pipeline.datasets import evaluation_images

    index = HashIndex(settings.near_duplicate_bits)
    for value in evaluation_images.evaluation_hashes(read_protocol(protocol)) if protocol else ():
        index.add(value)
    return index


def _candidates(queries: Sequence[Query], keys: Sequence[str], state: PoolState) -> Iterator[tuple[Place, Candidate]]:
    for query, key in zip(queries, keys, strict=True):
        for rank, candidate in enumerate(state.candidates(key)):
            yield Place(query["query_id"], rank), candidate
