"""What becomes of a shard's candidates, and the files it is written to: tar, table and statistics."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pipeline.artifacts import INGEST, Table, atomic_path, row_writer, write_json
from pipeline.artifacts.rows import IngestRow, SafetyColumns
from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.checks.licence import allows
from pipeline.crawl_ingest.checks.reasons import KEPT, status_of
from pipeline.crawl_ingest.pool.duplicates import HashIndex, SeenTexts
from pipeline.crawl_ingest.pool.safety import UNSAFE, SafetyCheck
from pipeline.crawl_ingest.pool.state import Outcome, PoolState
from pipeline.crawl_ingest.sources.base import Candidate

_ABOUT = ("url", "page_url", "licence", "creator", "title", "query_id")
"""What is stored beside an image in the tar."""
_HEADER = tarfile.TarInfo().tobuf(tarfile.USTAR_FORMAT)
_SIZE, _SUM = slice(124, 136), slice(148, 156)
_REST = sum(_HEADER) - sum(_HEADER[_SIZE]) - sum(_HEADER[_SUM]) + 8 * ord(" ")
"""Sum of a header's bytes without name and size; its own field counts as blanks (POSIX.1-1988, ustar)."""


class Place(NamedTuple):
    """Where a candidate was found: the query and its place in the answer."""

    query_id: str
    rank: int


def decide(
    candidates: Iterable[tuple[Place, Candidate]],
    state: PoolState,
    settings: CrawlIngest,
    evaluation: HashIndex,
    safety: SafetyCheck | None = None,
) -> Iterator[IngestRow]:
    """Yield a row per candidate, with its reason, and with the score and threshold of the safety check if there is one.

    Duplicates are decided after all downloads, in query order and rank, so that arrival does not matter. What is
    unsafe is nobody's original.
    """
    urls, ids, near = SeenTexts(), SeenTexts(), HashIndex(settings.near_duplicate_bits)
    for place, candidate in candidates:
        outcome = Outcome(candidate["url"], "licence")
        if allows(settings.licences, candidate["licence"]):
            found = state.outcome(candidate["url"])
            assert found is not None
            outcome = found
        reason = outcome.reason
        judged: SafetyColumns = safety.judge(outcome) if safety else {}
        if safety and safety.refuses(judged):
            reason = UNSAFE
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
        yield {**_row(place, candidate, outcome, reason), **judged}


def _row(place: Place, candidate: Candidate, outcome: Outcome, reason: str) -> IngestRow:
    return {
        "image_id": outcome.image_id,
        "url": candidate["url"],
        "final_url": outcome.final_url,
        "page_url": candidate["page_url"],
        "query_id": place.query_id,
        "rank": place.rank,
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


def shard_files(out: Path) -> tuple[Path, Path, Path]:
    """Return the files of a shard: tar, table and statistics."""
    return out, out.with_suffix(".parquet"), out.with_suffix("").with_suffix(".stats.json")


def write_shard(
    out: Path, rows: Iterable[IngestRow], state: PoolState, kind: Table[IngestRow] = INGEST
) -> dict[str, int]:
    """Write the rows to <out>, its .parquet and its .stats.json; return the counts by reason."""
    counts: Counter[str] = Counter()
    _, table, statistics = shard_files(out)
    # The table appears after the tar.
    with (
        row_writer(table, kind) as write,
        atomic_path(out) as temporary,
        open(temporary, "wb", buffering=1 << 20) as stream,
    ):
        for row in rows:
            counts[row["reason"] or "kept"] += 1
            write(row)
            if row["status"] == "kept":
                about = {key: value for key, value in row.items() if key in _ABOUT}
                _add(stream, f"{row['image_id']}.jpg", state.read(row["image_id"]))
                _add(stream, f"{row['image_id']}.json", json.dumps(about, sort_keys=True).encode())
        _end(stream)
    write_json(statistics, {"tried": counts.total(), **counts})
    return dict(counts)


def _add(stream: BinaryIO, name: str, data: bytes) -> None:
    stream.write(_header(name.encode(), len(data)))
    stream.write(data)
    stream.write(bytes(-len(data) % tarfile.BLOCKSIZE))


def _header(name: bytes, size: int) -> bytes:
    # WebDataset layout. Fixed times and owners make equal content equal bytes; of two headers only name, size and sum
    # differ, and tarfile takes as long to make one as the crawl to keep its state.
    assert len(name) <= tarfile.LENGTH_NAME
    length = b"%011o\0" % size
    head = bytearray(_HEADER)
    head[: len(name)] = name
    head[_SIZE] = length
    head[_SUM] = b"%06o\0 " % (_REST + sum(name) + sum(length))
    return bytes(head)


def _end(stream: BinaryIO) -> None:
    stream.write(bytes(2 * tarfile.BLOCKSIZE))
    stream.write(bytes(-stream.tell() % tarfile.RECORDSIZE))
