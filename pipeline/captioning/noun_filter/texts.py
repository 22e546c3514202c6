"""Captions and nouns by image id, on disk: a million of them take no more memory than a thousand."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pipeline.artifacts import CAPTIONS, NOUNS, iter_table


class Texts:
    """A private temporary SQLite file, gone with the object."""

    def __init__(
        self, captions: Mapping[str, str] | None = None, nouns: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self._db = sqlite3.connect("", isolation_level=None)
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-16000"):
            self._db.execute(f"PRAGMA {pragma}")
        for table in ("captions", "nouns"):
            self._db.execute(f"CREATE TABLE {table} (key INTEGER, image_id TEXT, text TEXT)")
        self._indexed = False
        self._add("captions", (captions or {}).items())
        self._add("nouns", ((image, "\t".join(words)) for image, words in (nouns or {}).items()))

    @classmethod
    def read(cls, captions: Sequence[Path], nouns: Sequence[Path]) -> Texts:
        """Return the texts of tables; of an image that occurs twice, the last."""
        texts = cls()
        for path in captions:
            for part in iter_table(path, CAPTIONS, ["image_id", "caption"]):
                texts._add("captions", zip(part["image_id"], part["caption"], strict=True))
        for path in nouns:
            for part in iter_table(path, NOUNS, ["image_id", "nouns"]):
                texts._add("nouns", zip(part["image_id"], map("\t".join, part["nouns"]), strict=True))
        return texts

    def captions(self, images: Sequence[str]) -> list[str]:
        """Return the caption of each image, "" where there is none."""
        found = self._find("captions", images)
        return [found.get(image, "") for image in images]

    def nouns(self, images: Sequence[str]) -> list[list[str]]:
        """Return the nouns of each image, none where it is unknown."""
        found = self._find("nouns", images)
        return [text.split("\t") if (text := found.get(image, "")) else [] for image in images]

    def _add(self, table: str, rows: Iterable[tuple[str, str]]) -> None:
        assert not self._indexed
        self._db.execute("BEGIN")
        keyed = ((hash(image), image, text) for image, text in rows)
        self._db.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", keyed)
        self._db.execute("COMMIT")

    def _index(self) -> None:
        # After the rows, because sorting once is far cheaper than inserting in the order of hashes; and over Python's
        # hashes of the ids, an eighth of their size. Where two ids share one, both rows are found and told apart.
        for table in ("captions", "nouns"):
            self._db.execute(f"CREATE INDEX {table}_by_key ON {table} (key)")
        self._indexed = True

    def _find(self, table: str, images: Sequence[str]) -> dict[str, str]:
        if not self._indexed:
            self._index()
        # All ids at once: SQLite sorts them, and so visits a page of the index once instead of once per id.
        wanted = json.dumps(list({hash(image) for image in images}))
        query = f"SELECT image_id, text FROM {table} WHERE key IN (SELECT value FROM json_each(?))"
        return dict(self._db.execute(query, (wanted,)))
