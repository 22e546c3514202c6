"""What a pool already knows: finished addresses and searches in SQLite, accepted bytes in a spool.

Item by item: a killed crawl repeats at most the requests in flight, and a plan that grows asks only for
what is new. Several shards may use the pool at once. What grows with the crawl lies on disk, not in memory.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline.crawl_ingest.pool.spool import SUFFIX, Handles, Place, Segment, unused
from pipeline.crawl_ingest.sources.base import Candidate

PASSING = frozenset({"told_to_wait"})
"""Reasons that are no fact about the address: a rerun asks again."""
SPOOL = "spool"
"""Folder of the bytes that no shard holds yet."""
PATIENCE = 60.0
"""Seconds to wait for another shard's turn at the database."""
_TABLES = """
CREATE TABLE IF NOT EXISTS items (url TEXT, policy TEXT, outcome TEXT, PRIMARY KEY (url, policy));
CREATE TABLE IF NOT EXISTS found (key TEXT, rank INTEGER, url TEXT, candidate TEXT, PRIMARY KEY (key, rank))
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS searched (key TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS stored (image_id TEXT PRIMARY KEY, file TEXT, position INTEGER, size INTEGER);
CREATE INDEX IF NOT EXISTS stored_file ON stored (file);
CREATE TABLE IF NOT EXISTS scores (image_id TEXT, model TEXT, score REAL, PRIMARY KEY (image_id, model))
    WITHOUT ROWID;
CREATE TEMP TABLE todo (position INTEGER PRIMARY KEY, url TEXT UNIQUE, candidate TEXT, host TEXT);
CREATE TEMP TABLE hosts (position INTEGER PRIMARY KEY, host TEXT, addresses INTEGER);
"""


_REASON = (
    "substr(json_extract(outcome, '$.reason') || ':', 1, instr(json_extract(outcome, '$.reason') || ':', ':') - 1)"
)
"""The documented reason: without what stands after its colon."""


def _write_ahead(db: sqlite3.Connection) -> None:
    # Unlike every other statement the switch does not wait for the time-out: shards that start together collide.
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            db.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _host_of(url: str) -> str:
    """Return the name by which addresses share a queue; whether they may be asked for is decided elsewhere."""
    try:
        return urlsplit(url).netloc.lower()[:255]
    except ValueError:
        return ""


@dataclass(frozen=True)
class Outcome:
    """How a download ended; `reason` empty means the image was accepted."""

    url: str
    reason: str
    final_url: str = ""
    http_status: int = 0
    image_id: str = ""
    width: int = 0
    height: int = 0
    bytes: int = 0
    phash: str = ""
    fetched_at: str = ""


class PoolState:
    """State of a pool under its folder. `policy` names the limits under which outcomes hold."""

    def __init__(self, folder: Path, policy: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.policy = folder, policy
        self._passing: dict[str, Outcome] = {}
        self._segment: Segment | None = None
        self._handles = Handles()
        self._db = sqlite3.connect(folder / "state.sqlite", timeout=PATIENCE, isolation_level=None)
        try:
            _write_ahead(self._db)
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute("PRAGMA temp_store=FILE")
            self._db.executescript(_TABLES)
        except sqlite3.Error:
            self._db.close()
            raise

    def outcome(self, url: str, check: bool = False) -> Outcome | None:
        """Return the finished outcome of an address; with `check` only if its bytes are there and whole."""
        if url in self._passing:
            return self._passing[url]
        query = "SELECT outcome FROM items WHERE url = ? AND policy = ?"
        row = self._db.execute(query, (url, self.policy)).fetchone()
        if row is None:
            return None
        try:
            outcome = Outcome(**json.loads(row[0]))
        except (TypeError, ValueError):
            # Damaged on disk: it is asked for again.
            return None
        if outcome.image_id and check and self._bytes(outcome.image_id) is None:
            return None
        return outcome

    def finish(self, outcome: Outcome, place: Place | None = None) -> None:
        """Record an outcome and where its bytes are; for this run alone if the host only asked to come back later."""
        self.finish_all([(outcome, place)])

    def finish_all(self, finished: Iterable[tuple[Outcome, Place | None]]) -> None:
        """Record outcomes in one transaction."""
        with self._transaction():
            for outcome, place in finished:
                if outcome.reason in PASSING:
                    self._passing[outcome.url] = outcome
                    continue
                if place is not None:
                    self._store(outcome.image_id, place)
                values = (outcome.url, self.policy, json.dumps(vars(outcome)))
                self._db.execute("INSERT OR REPLACE INTO items VALUES (?, ?, ?)", values)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def forget(self, keys: Iterable[str], reasons: Iterable[str]) -> int:
        """Forget the outcomes of searched addresses that ended for one of the reasons; return how many."""
        wanted, gone = list(reasons), 0
        marks = ",".join("?" * len(wanted))
        for key in keys:
            gone += self._db.execute(
                "DELETE FROM items WHERE policy = ? AND url IN (SELECT url FROM found WHERE key = ?)"
                f" AND {_REASON} IN ({marks})",
                (self.policy, key, *wanted),
            ).rowcount
        return gone

    # Scores.

    def score(self, image_id: str, model: str) -> float | None:
        """Return the score that a model gave an image, None if it has not seen it."""
        row = self._db.execute(
            "SELECT score FROM scores WHERE image_id = ? AND model = ?", (image_id, model)
        ).fetchone()
        return None if row is None else float(row[0])

    def remember_scores(self, model: str, scores: Mapping[str, float]) -> None:
        """Record the scores of images."""
        rows = [(image_id, model, score) for image_id, score in scores.items()]
        with self._transaction():
            self._db.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?, ?)", rows)

    # Searches.

    def is_searched(self, key: str) -> bool:
        """Return whether a search was finished."""
        return self._db.execute("SELECT 1 FROM searched WHERE key = ?", (key,)).fetchone() is not None

    def remember(self, key: str, rank: int, candidates: Iterable[Candidate]) -> None:
        """Record candidates of a search from a rank on."""
        rows = [(key, rank + i, item["url"], json.dumps(item)) for i, item in enumerate(candidates)]
        with self._transaction():
            self._db.executemany("INSERT OR REPLACE INTO found VALUES (?, ?, ?, ?)", rows)

    def end_search(self, key: str, count: int) -> None:
        """Record that a search is finished with so many candidates."""
        self._db.execute("DELETE FROM found WHERE key = ? AND rank >= ?", (key, count))
        self._db.execute("INSERT OR REPLACE INTO searched VALUES (?)", (key,))

    def candidates(self, key: str) -> Iterator[Candidate]:
        """Yield the candidates of a search in the order of their ranks."""
        last, page = -1, 256
        query = "SELECT rank, candidate FROM found WHERE key = ? AND rank > ? ORDER BY rank LIMIT ?"
        while rows := self._db.execute(query, (key, last, page)).fetchall():
            for _, found in rows:
                yield json.loads(found)
            last = rows[-1][0]

    def count(self, keys: Iterable[str]) -> int:
        """Return the number of candidates of searches."""
        query = "SELECT count(*) FROM found WHERE key = ?"
        return sum(int(self._db.execute(query, (key,)).fetchone()[0]) for key in keys)

    # Work.

    def plan(self, keys: Iterable[str], wanted: Callable[[Candidate], bool]) -> int:
        """Collect the unfinished addresses of searches, each once; return how many there are."""
        self._db.execute("DELETE FROM todo")
        self._db.execute("DELETE FROM hosts")
        self._db.create_function("wanted", 1, lambda found: wanted(json.loads(found)), deterministic=True)
        self._db.create_function("host_of", 1, _host_of, deterministic=True)
        for key in keys:
            self._db.execute(
                "INSERT OR IGNORE INTO todo (url, candidate, host) SELECT url, candidate, host_of(url) FROM found"
                " WHERE key = ? AND wanted(candidate) ORDER BY rank", (key,),
            )  # fmt: skip
        for position, url in self._pages("SELECT position, url FROM todo WHERE position > ? ORDER BY position LIMIT ?"):
            if self.outcome(url, check=True) is not None:
                self._db.execute("DELETE FROM todo WHERE position = ?", (position,))
        self._db.execute("CREATE INDEX IF NOT EXISTS temp.todo_host ON todo (host, position)")
        self._db.execute(
            "INSERT INTO hosts (host, addresses) SELECT host, count(*) FROM todo GROUP BY host ORDER BY min(position)"
        )
        return int(self._db.execute("SELECT count(*) FROM todo").fetchone()[0])

    def hosts(self) -> Iterator[tuple[str, int]]:
        """Yield the hosts of what `plan` collected with their number of addresses, in the order of their first ones."""
        query = "SELECT position, host, addresses FROM hosts WHERE position > ? ORDER BY position LIMIT ?"
        for _, host, addresses in self._pages(query):
            yield host, addresses

    def work(self, host: str) -> Iterator[Candidate]:
        """Yield the candidates of a host that `plan` collected."""
        last, page = 0, 16
        query = "SELECT position, candidate FROM todo WHERE host = ? AND position > ? ORDER BY position LIMIT ?"
        while rows := self._db.execute(query, (host, last, page)).fetchall():
            for _, found in rows:
                yield json.loads(found)
            last, page = rows[-1][0], 256

    def _pages(self, query: str) -> Iterator[tuple[Any, ...]]:
        last = 0
        while rows := self._db.execute(query, (last, 256)).fetchall():
            yield from rows
            last = rows[-1][0]

    # Bytes.

    def spool(self, data: bytes) -> Place:
        """Append the bytes of an image to this run's segment; to be done before its outcome is recorded.

        Safe in one thread beside that of the database. Nothing is synced: what a power failure tears is not the
        sha256 that it is known by, and is asked for again.
        """
        if self._segment is None:
            self._segment = Segment(self.folder / SPOOL)
        return Place(f"{SPOOL}/{self._segment.name}", self._segment.append(data), len(data))

    def read(self, image_id: str) -> bytes:
        """Return the bytes of an accepted image."""
        data = self._bytes(image_id)
        assert data is not None
        return data

    def hand_over(self, image_id: str, place: Place) -> None:
        """Let a finished shard's bytes stand for the spooled ones. Raises ValueError if they are not the image."""
        data = self._at(place)
        if data is None or hashlib.sha256(data).hexdigest() != image_id:
            raise ValueError(f"{place.file} holds other bytes than the sha256 {image_id} says; crawl the shard again")
        self._store(image_id, place)

    def compact(self) -> int:
        """Rewrite the spool without what shards hold or nobody knows; return the bytes freed.

        Segments of running crawls are left alone.
        """
        freed = 0
        for path in sorted((self.folder / SPOOL).glob(f"*{SUFFIX}")):
            if self._segment is not None and path == self._segment.path:
                continue
            with unused(path) as free:
                if free:
                    freed += path.stat().st_size - self._move(path.relative_to(self.folder).as_posix())
                    path.unlink()
        return freed

    def _move(self, file: str) -> int:
        rows = self._db.execute("SELECT image_id, position, size FROM stored WHERE file = ?", (file,)).fetchall()
        moved = 0
        for image_id, position, size in rows:
            data = self._at(Place(file, position, size))
            if data is not None:
                self._store(image_id, self.spool(data))
                moved += size
        return moved

    def _store(self, image_id: str, place: Place) -> None:
        self._db.execute("INSERT OR REPLACE INTO stored VALUES (?, ?, ?, ?)", (image_id, *place))

    def _bytes(self, image_id: str) -> bytes | None:
        query = "SELECT file, position, size FROM stored WHERE image_id = ?"
        row = self._db.execute(query, (image_id,)).fetchone()
        data = self._at(Place(*row)) if row else None
        # A torn segment and a shard that was written anew have other bytes at the place.
        return data if data is not None and hashlib.sha256(data).hexdigest() == image_id else None

    def _at(self, place: Place) -> bytes | None:
        try:
            handle = self._handles.open(f"{self.folder}/{place.file}")
        except FileNotFoundError:
            return None
        return os.pread(handle, place.size, place.position)

    def close(self) -> None:
        """Close the database and the files."""
        self._db.close()
        self._handles.close()
        if self._segment is not None:
            self._segment.close()
