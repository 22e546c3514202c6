"""Later looks at a pool: are the stored bytes what their names say, does the web still hold them; and its spool."""

from __future__ import annotations

import asyncio
import hashlib
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypedDict

from pipeline.artifacts import INGEST, read_rows, write_json
from pipeline.artifacts.rows import IngestRow
from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.checks.decoders import Decoders
from pipeline.crawl_ingest.checks.image import IntakeError
from pipeline.crawl_ingest.checks.reasons import unexpected
from pipeline.crawl_ingest.crawl import policy
from pipeline.crawl_ingest.faults import MachineError, in_one_line
from pipeline.crawl_ingest.fetch.crew import Crew
from pipeline.crawl_ingest.fetch.downloader import Downloader
from pipeline.crawl_ingest.fetch.host import FetchError
from pipeline.crawl_ingest.pool.leftovers import remove_old_leftovers
from pipeline.crawl_ingest.pool.spool import Place
from pipeline.crawl_ingest.pool.state import PoolState
from pipeline.crawl_ingest.sources import Source, open_source
from pipeline.runtime.progress import Progress

WAITING = 16
"""Addresses that may wait for their hosts, as multiples of those that are asked at a time."""


class Drift(TypedDict):
    """What the web says today of an image that was kept."""

    image_id: str
    url: str
    found: str


@in_one_line
def refresh(shards: Sequence[Path], settings: CrawlIngest, out: Path, web: bool = False) -> dict[str, int]:
    """Write a report on the shards (tar files) and return its counts. Nothing that is stored changes.

    Stored bytes: `intact`, or `damaged` (another sha256 than the name says), `missing` (in the table and not in the
    tar). With `web`, every kept address is asked again: `same`, `re_encoded` (another sha256, nearly the same
    perceptual hash), `changed`, or the reason for which it would not be kept today.
    """
    stored = {shard: list(_verify(shard)) for shard in shards}
    counts = Counter(state for states in stored.values() for _, state in states)
    report: dict[str, Any] = {
        "stored": dict(counts),
        "faults": [[str(shard), name, state] for shard in shards for name, state in stored[shard] if state != "intact"],
    }
    if web:
        drift = asyncio.run(_ask_again(shards, settings))
        found = Counter(item["found"] for item in drift)
        report |= {"web": dict(found), "drift": [item for item in drift if item["found"] != "same"]}
        counts += found
    write_json(out, report)
    return dict(counts)


@in_one_line
def clean(shards: Sequence[Path], settings: CrawlIngest, pool: Path) -> int:
    """Remove from the pool's spool what finished shards hold, and what killed crawls left; return the bytes freed.

    Other shards and plans go on finding the bytes, in the shard's tar. Raises ValueError if a shard is damaged.
    """
    state = PoolState(pool, policy(settings))
    try:
        for shard in shards:
            inside = shard.absolute().relative_to(pool.absolute()).as_posix()
            with tarfile.open(shard) as tar:
                for member in tar:
                    if member.name.endswith(".jpg"):
                        state.hand_over(Path(member.name).stem, Place(inside, member.offset_data, member.size))
        return state.compact() + remove_old_leftovers(pool)
    finally:
        state.close()


def _kept(shard: Path) -> Iterator[IngestRow]:
    for row in read_rows(shard.with_suffix(".parquet"), INGEST):
        if row["status"] == "kept":
            yield row


def _verify(shard: Path) -> Iterator[tuple[str, str]]:
    expected = {row["image_id"] for row in _kept(shard)}
    try:
        with tarfile.open(shard) as tar:
            for member in tar:
                if not member.name.endswith(".jpg"):
                    continue
                stream = tar.extractfile(member)
                digest = hashlib.sha256(stream.read() if stream else b"").hexdigest()
                name = Path(member.name).stem
                expected.discard(name)
                yield name, "intact" if digest == name else "damaged"
    except (tarfile.TarError, OSError):
        # What follows a torn header cannot be read.
        pass
    for name in sorted(expected):
        yield name, "missing"


async def _ask_again(shards: Sequence[Path], settings: CrawlIngest) -> list[Drift]:
    rows = (row for shard in shards for row in _kept(shard))
    total = sum(1 for shard in shards for _ in _kept(shard))
    progress, drift = Progress("refresh", total, unit="addresses"), list[Drift]()
    async with Downloader(settings) as downloader:
        source, decoders, crew = open_source(settings, downloader), Decoders(settings), Crew(settings.connections)

        async def work() -> None:
            for row in rows:
                async with crew.place():
                    found = await _look(source, decoders, row, settings)
                drift.append({"image_id": row["image_id"], "url": row["url"], "found": found})
                progress.update()

        # Many more than the crew: who waits for a host takes no place in it.
        await asyncio.gather(*(work() for _ in range(WAITING * settings.connections)))
        decoders.close()
    return sorted(drift, key=lambda item: (item["url"], item["image_id"]))


async def _look(source: Source, decoders: Decoders, row: IngestRow, settings: CrawlIngest) -> str:
    try:
        fetched = await source.fetch(row["url"])
        now = await decoders.accept(fetched.body)
    except (FetchError, IntakeError) as error:
        return error.reason
    except (MachineError, OSError):
        raise
    except Exception as error:
        return unexpected(error)
    if now.image_id == row["image_id"]:
        return "same"
    bits = (int(now.phash, 16) ^ int(row["phash"], 16)).bit_count()
    return "re_encoded" if bits <= settings.near_duplicate_bits else "changed"
