"""Ingestion of one shard: search, download, check, and hand over to what writes the shard."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pipeline.artifacts import INGEST, QUERIES, read_table, with_safety
from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.checks.licence import allows
from pipeline.crawl_ingest.checks.reasons import KEPT, status_of, unexpected
from pipeline.crawl_ingest.faults import MachineError, in_one_line
from pipeline.crawl_ingest.fetch.crew import Crew
from pipeline.crawl_ingest.fetch.downloader import Downloader
from pipeline.crawl_ingest.fetch.host import FetchError
from pipeline.crawl_ingest.fetch.network import SITE
from pipeline.crawl_ingest.plan import query_limit
from pipeline.crawl_ingest.pool.duplicates import HashIndex
from pipeline.crawl_ingest.pool.leftovers import remove_leftovers_of, sole_writer
from pipeline.crawl_ingest.pool.recorder import Download, Recorder
from pipeline.crawl_ingest.pool.safety import open_safety
from pipeline.crawl_ingest.pool.shard import Place, decide, shard_files, write_shard
from pipeline.crawl_ingest.pool.state import Outcome, PoolState
from pipeline.crawl_ingest.sources import Candidate, Query, SearchError, Source, open_source
from pipeline.datasets.protocol_file import read_protocol
from pipeline.runtime.progress import Progress

PAGE = 256
"""Candidates recorded at a time."""
OPEN_HOSTS = 256
"""Hosts that are worked on at a time; one that makes us wait holds up none of the others."""


@in_one_line
def ingest(
    queries: Path, shard: str, protocol: Path | None, settings: CrawlIngest, out: Path, retry: Collection[str] = ()
) -> dict[str, int]:
    """Write <shard>.tar, .parquet and .stats.json beside `out` (the tar) and return the counts by reason.

    The rows depend on what the web answers, not on the order of arrival or on earlier interruptions.
    The pool's state lies in the folder above that of `out`. Addresses that ended for a reason in `retry` are
    asked again. Raises SearchError if the source does not work, WeightsError if the safety model is missing,
    MachineError if the disk or the pool's database fails, ValueError if `shard` is no shard's name.
    """
    plan, _, number = shard.rpartition("-")
    if not plan or not number.isdecimal():
        raise ValueError(f"got shard {shard!r}, expected <plan>-<number> such as base-00000")
    rows = [row for row in read_table(queries, QUERIES) if row["shard"] == int(number)]
    pool = out.absolute().parents[1]
    with sole_writer(pool, shard) as alone:
        if alone:
            remove_leftovers_of(shard_files(out))
        return _ingest(rows, shard, protocol, settings, out, retry)


def _ingest(
    rows: Sequence[Query], shard: str, protocol: Path | None, settings: CrawlIngest, out: Path, retry: Collection[str]
) -> dict[str, int]:
    plan = shard.rpartition("-")[0]
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
        async for candidate in _found(source, query, limit):
            page.append(candidate)
            if len(page) == PAGE:
                state.remember(key, count, page)
                count, page = count + len(page), []
        state.remember(key, count, page)
        state.end_search(key, count + len(page))


async def _found(source: Source, query: Query, limit: int) -> AsyncIterator[Candidate]:
    try:
        async for candidate in source.search(query, limit):
            yield candidate
    except (SearchError, MachineError, OSError):
        raise
    except Exception as error:
        # Nothing is known that does this; the line names the query, and what other queries found stays.
        raise SearchError(
            f"search for {str(query['text'])[:200]!r} failed: unexpected {type(error).__name__}"
        ) from error


async def _download_all(source: Source, state: PoolState, settings: CrawlIngest, progress: Progress) -> None:
    tally: Counter[str] = Counter()
    # A crew of fixed size keeps memory flat in the number of addresses; who waits for a host takes no place in it.
    crew, hosts = Crew(settings.connections), state.hosts()
    # While one answer is recorded the next may be on its way: the host's own limits are kept by the downloader.
    lanes = 2 * settings.connections_per_host

    async def work(recorder: Recorder, candidates: Iterator[Candidate]) -> None:
        for candidate in candidates:
            async with crew.place():
                tally[await recorder.record(await _download(source, candidate))] += 1
            progress.update(note=_note(tally))

    async def attend(recorder: Recorder) -> None:
        for host, addresses in hosts:
            candidates = state.work(host)
            await asyncio.gather(*(work(recorder, candidates) for _ in range(min(lanes, addresses))))

    with Recorder(settings, state) as recorder:
        if next(state.hosts(), None):
            recorder.prepare()
        await asyncio.gather(*(attend(recorder) for _ in range(OPEN_HOSTS)))


def _note(tally: Counter[str]) -> str:
    parts = [f"{tally[KEPT]} kept"]
    for status in ("refused", "failed"):
        reasons = {reason: count for reason, count in tally.items() if status_of(reason) == status}
        if reasons:
            said = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
            parts.append(f"{sum(reasons.values())} {status} ({said})")
    return ", ".join(parts)


async def _download(source: Source, candidate: Candidate) -> Download:
    url = candidate["url"]
    try:
        fetched = await source.fetch(url)
    except FetchError as error:
        return Download(Outcome(url, error.reason, error.url, error.status, fetched_at=_now()))
    except (MachineError, OSError):
        # Our disk, not the address: whatever a connection raises has become a FetchError.
        raise
    except Exception as error:
        return Download(Outcome(url, unexpected(error), url, fetched_at=_now()))
    outcome = Outcome(url, KEPT, fetched.final_url, fetched.status, fetched_at=_now())
    # The list may say what the bytes were when it was made: nobody can slip in others since.
    if candidate["sha256"] and hashlib.sha256(fetched.body).hexdigest() != candidate["sha256"].lower():
        return Download(replace(outcome, reason="other_bytes", bytes=len(fetched.body)))
    return Download(outcome, fetched.body)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


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
