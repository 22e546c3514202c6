"""Scores of all candidates of a step, and who is kept under each combination of filters."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.artifacts import FOURIER, MANIFEST, NEW_CLASSES, NOUN_FILTER, image_address, read_table, write_table
from pipeline.artifacts.rows import FourierRow, ManifestRow, NewClassRow, NounFilterRow
from pipeline.config import Selection
from pipeline.fourier_filter.discriminator import Discriminator
from pipeline.fourier_filter.pictures import load_all
from pipeline.fourier_filter.selection import reason_for, select
from pipeline.runtime.threads import use_threads

FILTERS = ("none", "noun", "fourier", "both")
UNSCORED = ("none", "noun")
"""Combinations that need no discriminator."""


@dataclass(frozen=True)
class Candidate:
    """A web image of a new class: its row, address, discriminator score, and what the noun filter decided."""

    row: ManifestRow
    uri: str
    score: float
    noun: NounFilterRow

    @property
    def image_id(self) -> str:
        """Id of the image."""
        return self.row["image_id"]


def select_images(
    manifest: Path,
    noun_filter: Path,
    shards: Path,
    model: Path | None,
    settings: Selection,
    out_fourier: Path,
    out: Path,
) -> None:
    """Write fourier.parquet (every candidate's score) and new_classes.parquet.

    The latter has a row per candidate and combination of filters: none takes the first `budget` of a class in
    search order, noun the first that pass the noun filter, fourier the best by score, both the best by score
    among those that pass the noun filter. Without the noun filter an image's label is its queried class. Without a
    model there are no scores (NaN), no row in fourier.parquet and no combination that needs them.
    """
    use_threads()
    rows = [row for row in read_table(manifest, MANIFEST) if row["status"] == "kept"]
    nouns = {row["image_id"]: row for row in read_table(noun_filter, NOUN_FILTER)}
    uris = [image_address(f"{shards}/{row['shard']}.tar", row["image_id"]) for row in rows]
    scores = _scores(model, uris)
    candidates = [
        Candidate(row, uri, score, nouns[row["image_id"]]) for row, score, uri in zip(rows, scores, uris, strict=True)
    ]
    by_class: dict[int, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        by_class[candidate.row["class_ids"][0]].append(candidate)
    fourier, chosen = list[FourierRow](), list[NewClassRow]()
    for class_id in sorted(by_class):
        group = sorted(by_class[class_id], key=lambda c: (c.row["rank"], c.image_id))
        fourier += _fourier_rows(class_id, group, settings) if model else []
        for filters in FILTERS if model else UNSCORED:
            chosen += _selection_rows(class_id, group, filters, settings)
    write_table(out_fourier, fourier, FOURIER, provenance=settings.model_dump())
    write_table(out, chosen, NEW_CLASSES, provenance=settings.model_dump())


def _scores(model: Path | None, uris: Sequence[str]) -> list[float]:
    if model is None:
        return [math.nan] * len(uris)
    discriminator = Discriminator.load(model)
    scores: list[float] = discriminator.scores(load_all(uris, discriminator.settings.resize, "candidates")).tolist()
    return scores


def _fourier_rows(class_id: int, group: Sequence[Candidate], settings: Selection) -> list[FourierRow]:
    kept = set(_choose(group, list(range(len(group))), True, settings))
    rows: list[FourierRow] = []
    for index, candidate in enumerate(group):
        p = 1 / (1 + math.exp(-max(-60.0, min(60.0, candidate.score))))
        rows.append(
            {
                "image_id": candidate.image_id,
                "class_id": class_id,
                "p_dataset": p,
                "p_web": 1 - p,
                "score": candidate.score,
                "threshold": 0.0,
                "kept": index in kept,
                "reason": reason_for(candidate.score, index in kept),
            }
        )
    return rows


def _selection_rows(class_id: int, group: Sequence[Candidate], filters: str, settings: Selection) -> list[NewClassRow]:
    by_noun = filters in ("noun", "both")
    by_score = filters in ("fourier", "both")
    eligible = [i for i, c in enumerate(group) if c.noun["kept"] or not by_noun]
    kept = set(_choose(group, eligible, by_score, settings))
    rows: list[NewClassRow] = []
    for index, candidate in enumerate(group):
        if index not in eligible:
            reason = f"noun:{candidate.noun['reason']}"
        elif by_score:
            reason = reason_for(candidate.score, index in kept)
        else:
            reason = "" if index in kept else "over_budget"
        rows.append(
            {
                "image_id": candidate.image_id,
                "class_id": class_id,
                "filters": filters,
                "labels": candidate.noun["labels"] if by_noun else [class_id],
                "image": candidate.uri,
                "rank": candidate.row["rank"],
                "noun_score": candidate.noun["score"],
                "fourier_score": candidate.score,
                "kept": index in kept,
                "reason": reason,
            }
        )
    return rows


def _choose(group: Sequence[Candidate], eligible: Sequence[int], by_score: bool, settings: Selection) -> list[int]:
    if not by_score:
        return list(eligible[: settings.budget])
    scores = [group[i].score for i in eligible]
    names = [group[i].image_id for i in eligible]
    return [eligible[i] for i in select(scores, settings.budget, settings.rule, names)]
