"""What a pool already knows: finished addresses and search pages in SQLite, accepted bytes in a spool.

Item by item: a killed crawl repeats at most the requests in flight, and a plan that grows asks only for
what is new. Several shards may use the pool at once.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.artifacts import atomic_path

PASSING = frozenset({"told_to_wait"})
"""Reasons that are no fact about the address: a rerun asks again."""


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
        self._spool = folder / "spool"
        self.policy = policy
        self._passing: dict[str, Outcome] = {}
        self._db = sqlite3.connect(folder / "state.sqlite", timeout=60, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS items (url TEXT, policy TEXT, outcome TEXT, PRIMARY KEY (url, policy))"
        )
        self._db.execute("CREATE TABLE IF NOT EXISTS searches (key TEXT PRIMARY KEY, found TEXT)")

    def outcome(self, url: str) -> Outcome | None:
        """Return the finished outcome of an address, if its bytes are still there."""
        if url in self._passing:
            return self._passing[url]
        query = "SELECT outcome FROM items WHERE url = ? AND policy = ?"
        row = self._db.execute(query, (url, self.policy)).fetchone()
        if row is None:
            return None
        outcome = Outcome(**json.loads(row[0]))
        if outcome.image_id and not self.path(outcome.image_id).exists():
            return None
        return outcome

    def spool(self, image_id: str, data: bytes) -> None:
        """Write the bytes of an image to disk; to be done before its outcome is recorded. Safe in a thread."""
        path = self.path(image_id)
        if not path.exists():
            with atomic_path(path) as temporary:
                temporary.write_bytes(data)

    def finish(self, outcome: Outcome) -> None:
        """Record an outcome, for this run alone if the host only asked to come back later."""
        if outcome.reason in PASSING:
            self._passing[outcome.url] = outcome
            return
        values = (outcome.url, self.policy, json.dumps(asdict(outcome)))
        self._db.execute("INSERT OR REPLACE INTO items VALUES (?, ?, ?)", values)

    def search(self, key: str) -> list[dict[str, Any]] | None:
        """Return the remembered candidates of a search."""
        row = self._db.execute("SELECT found FROM searches WHERE key = ?", (key,)).fetchone()
        found: list[dict[str, Any]] | None = json.loads(row[0]) if row else None
        return found

    def remember(self, key: str, found: list[dict[str, Any]]) -> None:
        """Record the candidates of a finished search."""
        self._db.execute("INSERT OR REPLACE INTO searches VALUES (?, ?)", (key, json.dumps(found)))

    def path(self, image_id: str) -> Path:
        """Return where the bytes of an image are spooled."""
        return self._spool / image_id[:2] / image_id

    def close(self) -> None:
        """Close the database."""
        self._db.close()
