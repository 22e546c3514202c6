"""The noun filter: nearest-neighbour cosine similarity between caption nouns and class words (web_wilss.md 6.4-6.6)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline.artifacts import CAPTIONS, MANIFEST, NOUN_FILTER, NOUNS, read_json, read_table, write_table
from pipeline.captioning.similarity import Similarity, build
from pipeline.captioning.vocabulary import labels_of, targets
from pipeline.config import NounFilter

Row = dict[str, Any]


@dataclass(frozen=True)
class Texts:
    """Captions and nouns by image id."""

    captions: dict[str, str]
    nouns: dict[str, list[str]]

    @classmethod
    def read(cls, captions: Sequence[Path], nouns: Sequence[Path]) -> Texts:
        """Return the texts of tables."""
        told = {r["image_id"]: r["caption"] for path in captions for r in read_table(path, CAPTIONS)}
        found = {r["image_id"]: r["nouns"] for path in nouns for r in read_table(path, NOUNS)}
        return cls(told, found)


def filter_nouns(
    role: Literal["new", "replay"],
    manifest: Path,
    texts: Texts,
    protocol: Path,
    settings: NounFilter,
    out: Path,
    source: Texts | None = None,
) -> None:
    """Write a row for every kept image of the manifest: best word, target, score, threshold, kept, reason.

    new: the first nouns of the caption against the words of the queried class. replay: against the first
    nouns of the source image's caption (rule `paper`) or the words of its classes (rule `classes`). A NaN score
    rejects. `labels` are the known classes the caption names, the queried class included where kept.
    """
    facts = read_json(protocol)
    rows = [row for row in read_table(manifest, MANIFEST) if row["status"] == "kept"]
    names = {int(k): name for k, name in facts["class_names"].items()}
    known = {names[c]: c for c in facts["order"] if c}
    similarity = build(settings.similarity)
    goals = [_goals(role, row, names, source, settings) for row in rows]
    words = [texts.nouns.get(row["image_id"], [])[: settings.nouns] for row in rows]
    best = _best(similarity, words, goals)
    table = [_decide(role, row, texts, known, found, settings) for row, found in zip(rows, best, strict=True)]
    write_table(out, table, NOUN_FILTER, provenance=settings.model_dump())


def _goals(role: str, row: Row, names: dict[int, str], source: Texts | None, settings: NounFilter) -> list[str]:
    if role == "replay" and settings.replay_rule == "paper":
        assert source is not None
        return source.nouns.get(row["source_image_id"], [])[: settings.nouns]
    return [word for class_id in row["class_ids"] for word in targets(names[class_id])]


def _best(
    similarity: Similarity, words: Sequence[Sequence[str]], goals: Sequence[Sequence[str]]
) -> list[tuple[str, str, float]]:
    # One exact search over the unique vocabulary serves every row.
    vocabulary = sorted({word for row in words for word in row})
    wanted = sorted({goal for row in goals for goal in row})
    table = similarity.scores(vocabulary, wanted)
    line = {word: i for i, word in enumerate(vocabulary)}
    column = {goal: j for j, goal in enumerate(wanted)}
    found = []
    for row, goal in zip(words, goals, strict=True):
        if not row or not goal:
            found.append(("", "", math.nan))
            continue
        part = table[np.ix_([line[w] for w in row], [column[g] for g in goal])]
        if np.isnan(part).all():
            found.append((row[0], goal[0], math.nan))
            continue
        i, j = np.unravel_index(int(np.nanargmax(part)), part.shape)
        found.append((row[int(i)], goal[int(j)], float(part[i, j])))
    return found


def _decide(
    role: str,
    row: Row,
    texts: Texts,
    known: dict[str, int],
    found: tuple[str, str, float],
    settings: NounFilter,
) -> Row:
    caption = texts.captions.get(row["image_id"], "")
    nouns = texts.nouns.get(row["image_id"], [])
    word, target, score = found
    labels = labels_of(caption, known)
    reason = ""
    if not nouns:
        reason = "no_nouns"
    elif math.isnan(score):
        reason = "unknown_word"
    elif score <= settings.threshold:
        reason = "below_threshold"
    query_class = row["class_ids"][0] if role == "new" else -1
    if role == "new" and not reason and query_class not in labels:
        labels = sorted([*labels, query_class])
    return {
        "image_id": row["image_id"],
        "query_id": row["query_id"],
        "role": role,
        "class_id": query_class,
        "caption": caption,
        "nouns": nouns,
        "labels": labels,
        "word": word,
        "target": target,
        "score": score,
        "threshold": settings.threshold,
        "kept": not reason,
        "reason": reason,
    }
