"""The noun filter: nearest-neighbour cosine similarity between caption nouns and class words (web_wilss.md 6.4-6.6)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline.artifacts import MANIFEST, NOUN_FILTER, count_rows, iter_table, table_writer
from pipeline.captioning.authors.files import CLASS_NAMES
from pipeline.captioning.authors.released import PICKS
from pipeline.captioning.noun_filter.similarity import Similarity, build
from pipeline.captioning.noun_filter.texts import Texts
from pipeline.captioning.vocabulary import Vocabulary
from pipeline.config import ConfigError, NounFilter, nearest
from pipeline.datasets.protocol_file import Protocol, read_protocol
from pipeline.datasets.readers.class_names import VOC as VOC_NAMES
from pipeline.runtime.progress import Progress

Role = Literal["new", "replay"]
Columns = dict[str, list[Any]]
Best = tuple[str, str, float]

_READ = ["image_id", "query_id", "status", "class_ids", "source_image_id"]
_PART = 20_000
"""Rows judged at a time."""
_REMEMBERED = 200_000
"""Pairs of word and goal after which the found ones are forgotten."""


def filter_nouns(
    role: Role,
    manifest: Path,
    texts: Texts,
    protocol: Path,
    settings: NounFilter,
    out: Path,
    source: Texts | None = None,
    vocabulary: str = "",
) -> None:
    """Write a row for every kept image of the manifest: best word, target, score, threshold, kept, reason.

    new: the first nouns of the caption against the words of the queried class. replay: against the first
    nouns of the source image's caption (rule `paper`), the words of its classes (`classes`), or, with the first noun
    alone and at most two images per query, the authors' names of its classes (`released`). A NaN score rejects.
    `labels` are the known classes the caption names, the queried class included where kept.
    """
    judge = Judge(role, read_protocol(protocol), texts, settings, source, vocabulary)
    progress: Progress | None = None
    about = {**settings.model_dump(), "vocabulary": vocabulary}
    with table_writer(out, NOUN_FILTER, provenance=about) as write:
        for read, rows in kept_rows(manifest):
            progress = progress or Progress(f"noun filter, {role}", count_rows(manifest), "rows")
            if rows["image_id"]:
                write(judge.columns(rows))
            progress.update(read)


def kept_rows(manifest: Path) -> Iterator[tuple[int, Columns]]:
    """Yield, part by part of a manifest, how many rows were read and the columns of those that were kept."""
    for part in iter_table(manifest, MANIFEST, _READ, _PART):
        kept = [i for i, status in enumerate(part["status"]) if status == "kept"]
        yield len(part["status"]), {name: [values[i] for i in kept] for name, values in part.items()}


class Judge:
    """Decides about batches of manifest rows; remembers what it accepted per query."""

    def __init__(
        self,
        role: Role,
        protocol: Protocol,
        texts: Texts,
        settings: NounFilter,
        source: Texts | None,
        vocabulary: str = "",
    ) -> None:
        assert role == "new" or source is not None or settings.replay_rule != "paper"
        self.role, self.texts, self.source, self.settings = role, texts, source, settings
        self.rule = settings.replay_rule if role == "replay" else "classes"
        self.vocabulary = Vocabulary.load(vocabulary)
        self.names = protocol.class_names
        self.known = {self.names[c]: c for c in protocol.order if c}
        self.nearest = NearestWord(build(settings.similarity, settings.embedding_model, settings.cache))
        self._class_words = lru_cache(maxsize=10_000)(self._words_of)
        self._accepted: Counter[str] = Counter()
        unknown = sorted(set(settings.thresholds) - set(self.names.values()))
        if unknown:
            hint = nearest(unknown[0], self.names.values())
            raise ConfigError(f"noun_filter.thresholds names `{unknown[0]}`, which is no class of the data set; {hint}")

    def columns(self, rows: Columns) -> Columns:
        """Return the columns of NOUN_FILTER for manifest rows (columns `_READ`)."""
        captions, nouns = self.texts.captions(rows["image_id"]), self.texts.nouns(rows["image_id"])
        depth = 1 if self.rule == "released" else self.settings.nouns
        goals = self._goals(rows)
        best = self.nearest.best([words[:depth] for words in nouns], goals)
        thresholds = [self._threshold(classes) for classes in rows["class_ids"]]
        reasons = [
            self._reason(query, found[2], limit, bool(words), bool(goal))
            for query, found, limit, words, goal in zip(rows["query_id"], best, thresholds, nouns, goals, strict=True)
        ]
        queried = [classes[0] if self.role == "new" else -1 for classes in rows["class_ids"]]
        labels = [
            self._labels(caption, query, not reason)
            for caption, query, reason in zip(captions, queried, reasons, strict=True)
        ]
        return {
            "image_id": rows["image_id"],
            "query_id": rows["query_id"],
            "role": [self.role] * len(best),
            "class_id": queried,
            "caption": captions,
            "nouns": nouns,
            "labels": labels,
            "word": [word for word, _, _ in best],
            "target": [target for _, target, _ in best],
            "score": [score for _, _, score in best],
            "threshold": thresholds,
            "kept": [not reason for reason in reasons],
            "reason": reasons,
        }

    def _goals(self, rows: Columns) -> list[tuple[str, ...]]:
        if self.rule == "paper":
            assert self.source is not None
            found = self.source.nouns(rows["source_image_id"])
            return [tuple(words[: self.settings.nouns]) for words in found]
        return [self._class_words(tuple(classes)) for classes in rows["class_ids"]]

    def _words_of(self, classes: tuple[int, ...]) -> tuple[str, ...]:
        word = _released_word if self.rule == "released" else self.vocabulary.targets
        return tuple(w for c in classes for w in word(self.names[c]))

    def _threshold(self, classes: Sequence[int]) -> float:
        if self.rule == "paper" or not self.settings.thresholds:
            return self.settings.threshold
        own = (self.settings.thresholds.get(self.names[c], self.settings.threshold) for c in classes)
        return min(own, default=self.settings.threshold)

    def _reason(self, query: str, score: float, threshold: float, has_nouns: bool, has_goal: bool) -> str:
        if not has_nouns:
            return "no_nouns"
        if not has_goal:
            return "nothing_to_compare"
        if math.isnan(score):
            return "unknown_word"
        if score <= threshold:
            return "below_threshold"
        if self.rule != "released":
            return ""
        self._accepted[query] += 1
        return "enough_accepted" if self._accepted[query] > PICKS else ""

    def _labels(self, caption: str, queried: int, kept: bool) -> list[int]:
        labels = self.vocabulary.labels_of(caption, self.known)
        if kept and queried >= 0 and queried not in labels:
            return sorted([*labels, queried])
        return labels


def _released_word(name: str) -> tuple[str, ...]:
    return (CLASS_NAMES[VOC_NAMES.index(name) - 1],) if name in VOC_NAMES[1:] else (name,)


class NearestWord:
    """The best pair of words, each pair of word and goals searched once."""

    def __init__(self, similarity: Similarity) -> None:
        self.similarity = similarity
        self._found: dict[tuple[str, ...], dict[str, tuple[float, str]]] = {}

    def best(self, words: Sequence[Sequence[str]], goals: Sequence[tuple[str, ...]]) -> list[Best]:
        """Return (word, goal, score) of every row; score NaN where nothing can be compared."""
        if sum(map(len, self._found.values())) > _REMEMBERED:
            self._found.clear()
        new: dict[tuple[str, ...], dict[str, None]] = {}
        for row, goal in zip(words, goals, strict=True):
            if not goal:
                continue
            known = self._found.setdefault(goal, {})
            for word in row:
                if word not in known:
                    new.setdefault(goal, {})[word] = None
        self.similarity.learn(
            {word for missing in new.values() for word in missing} | {w for goal in new for w in goal}
        )
        for goal, missing in new.items():
            self._search(goal, list(missing))
        return [self._row(row, goal) for row, goal in zip(words, goals, strict=True)]

    def _search(self, goal: tuple[str, ...], words: list[str]) -> None:
        table = self.similarity.scores(words, goal)
        columns = np.where(np.isnan(table), -np.inf, table).argmax(axis=1)
        scores = table[np.arange(len(words)), columns].tolist()
        pairs = ((score, goal[column]) for score, column in zip(scores, columns.tolist(), strict=True))
        self._found[goal].update(zip(words, pairs, strict=True))

    def _row(self, words: Sequence[str], goal: tuple[str, ...]) -> Best:
        if not words or not goal:
            return ("", "", math.nan)
        known = self._found[goal]
        best = (words[0], goal[0], math.nan)
        for word in words:
            score, target = known[word]
            if score > best[2] or (math.isnan(best[2]) and not math.isnan(score)):
                best = (word, target, score)
        return best
