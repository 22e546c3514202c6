"""The released WordNet score and a score over the identity of hypernyms (web_wilss.md 6.3)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.captioning.wordnet.reader import Entry, WordNet

Closure = Literal["once", "repeated"]
Kind = Literal["once", "repeated", "identity"]
TABLE = Path(__file__).with_name("nouns.txt.xz")
ENVIRONMENT = "WNSEARCHDIR"


class WordNetSimilarity:
    """Cosine of hypernym vectors of first senses.

    `identity=False` is the released score: a histogram of hypernym depths, which forgets what the
    hypernyms are, and NaN for unknown words. It depends on the version of NLTK: `closure` is `once` for those that
    yield each hypernym once (3.4.5, 3.5, 3.9.1) and `repeated` for those that yield some twice (3.6.2 to 3.8.1; man and
    person 0.664 instead of 0.473). `identity=True` keeps the hypernyms apart and gives 0 instead.
    An installed WordNet is used if the environment variable WNSEARCHDIR names its folder.
    """

    def __init__(self, identity: bool, closure: Closure = "once") -> None:
        self.kind: Kind = "identity" if identity else closure

    def learn(self, words: Iterable[str]) -> None:
        """Do nothing: words are looked up one by one."""

    def scores(self, words: Sequence[str], targets: Sequence[str]) -> NDArray[np.float32]:
        """Return (words, targets) scores; NaN where either word has no vector and identity is off."""
        a, b = ([_vector(word, self.kind) for word in side] for side in (words, targets))
        keys = sorted({key for vector in b for key in vector})
        norms = np.sqrt(np.outer(*(np.array([_square(vector) for vector in side], float) for side in (a, b))))
        table = np.full(norms.shape, 0.0 if self.kind == "identity" else np.nan)
        np.divide(_dense(a, keys) @ _dense(b, keys).T, norms, out=table, where=norms > 0)
        return table.astype(np.float32)

    def score(self, first: str, second: str) -> float:
        """Return the score of two words."""
        return _score(first, second, self.kind)


@lru_cache(maxsize=200_000)
def _score(first: str, second: str, kind: Kind) -> float:
    a, b = (_vector(word, kind) for word in (first, second))
    norm = math.sqrt(_square(a) * _square(b))
    if norm == 0:
        return 0.0 if kind == "identity" else math.nan
    return sum(value * b.get(key, 0) for key, value in a.items()) / norm


@lru_cache(maxsize=50_000)
def _vector(word: str, kind: Kind) -> dict[int, int]:
    # Without the released factor 0.05, which the cosine cancels: sums of whole numbers are exact in any order.
    entry = lookup(word)
    if entry is None:
        return {}
    if kind == "identity":
        return dict((*entry.own, *entry.hypernyms, *entry.instance))
    vector: dict[int, int] = {}
    for _, depth in entry.repeated if kind == "repeated" else entry.hypernyms:
        vector[depth] = vector.get(depth, 0) + depth
    return vector


def _square(vector: Mapping[int, int]) -> int:
    return sum(value * value for value in vector.values())


def _dense(vectors: Sequence[Mapping[int, int]], keys: Sequence[int]) -> NDArray[np.float64]:
    column = {key: i for i, key in enumerate(keys)}
    matrix = np.zeros((len(vectors), len(keys)))
    for row, vector in zip(matrix, vectors, strict=True):
        for key in vector.keys() & column.keys():
            row[column[key]] = vector[key]
    return matrix


def lookup(word: str) -> Entry | None:
    """Return the first noun sense of a word, lemmatised; None if it is unknown."""
    return _wordnet(os.environ.get(ENVIRONMENT, "")).first_sense(word)


@lru_cache(maxsize=2)
def _wordnet(directory: str) -> WordNet:
    return WordNet.installed(Path(directory)) if directory else WordNet.table(TABLE)
