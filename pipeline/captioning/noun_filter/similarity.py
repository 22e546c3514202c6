"""Similarity of words: sentence embeddings, or WordNet as released and as improved (web_wilss.md 6.3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.captioning.noun_filter.embeddings import WordVectors

Kind = Literal["embedding", "wordnet", "wordnet_hypernyms"]
Matrix = NDArray[np.float32]


class Similarity(Protocol):
    """What the noun filter asks."""

    def learn(self, words: Iterable[str]) -> None:
        """Prepare for many words at once, where that is faster than one by one."""
        ...

    def scores(self, words: Sequence[str], targets: Sequence[str]) -> Matrix:
        """Return (words, targets) similarities in -1..1; NaN where a word is unknown."""
        ...


def build(kind: Kind, model: str = "", cache: str = "") -> Similarity:
    """Return the similarity of a kind. `model` and `cache` are of embeddings; see WordVectors."""
    if kind == "embedding":
        return EmbeddingSimilarity(WordVectors(model, cache))
    from pipeline.captioning.wordnet import WordNetSimilarity

    return Underscored(WordNetSimilarity(identity=kind == "wordnet_hypernyms"))


class Underscored:
    """A similarity that knows compounds by underscores, as WordNet does, asked for our nouns, which have spaces."""

    def __init__(self, inner: Similarity) -> None:
        self.inner = inner

    def learn(self, words: Iterable[str]) -> None:
        """Pass the words on."""
        self.inner.learn(word.replace(" ", "_") for word in words)

    def scores(self, words: Sequence[str], targets: Sequence[str]) -> Matrix:
        """Return (words, targets) similarities."""
        first, second = ([word.replace(" ", "_") for word in side] for side in (words, targets))
        return self.inner.scores(first, second)


class EmbeddingSimilarity:
    """Cosine of sentence-transformer embeddings, by exact FAISS inner-product search over unique words."""

    def __init__(self, vectors: WordVectors) -> None:
        self.vectors = vectors

    def learn(self, words: Iterable[str]) -> None:
        """Embed the words that are new."""
        self.vectors.of(list(words))

    def scores(self, words: Sequence[str], targets: Sequence[str]) -> Matrix:
        """Return (words, targets) cosines."""
        if not words or not targets:
            return np.zeros((len(words), len(targets)), np.float32)
        import faiss

        unique, names = list(dict.fromkeys(words)), list(dict.fromkeys(targets))
        points = self.vectors.of(names)
        index = faiss.IndexFlatIP(points.shape[1])
        index.add(points)
        cosine, found = index.search(self.vectors.of(unique), len(names))
        row = {word: i for i, word in enumerate(unique)}
        column = {name: i for i, name in enumerate(names)}
        table = np.empty_like(cosine)
        np.put_along_axis(table, found, cosine, axis=1)
        return table[[row[w] for w in words]][:, [column[t] for t in targets]]
