"""What every similarity and every rule would keep, side by side; the report measures them against the truth."""

from __future__ import annotations

from pathlib import Path

from pipeline.artifacts import NOUN_COMPARISON, table_writer
from pipeline.captioning.noun_filter.judge import Judge, Role, kept_rows
from pipeline.captioning.noun_filter.texts import Texts
from pipeline.config import NounFilter
from pipeline.datasets.protocol_file import read_protocol

SIMILARITIES = ("embedding", "wordnet", "wordnet_hypernyms")
RULES = {"new": ("classes",), "replay": ("paper", "classes", "released")}


def compare(
    role: Role,
    manifest: Path,
    texts: Texts,
    protocol: Path,
    settings: NounFilter,
    out: Path,
    source: Texts | None = None,
    vocabulary: str = "",
) -> None:
    """Write a row per kept image of the manifest, similarity and rule; thresholds are those of the settings."""
    step = read_protocol(protocol)
    with table_writer(out, NOUN_COMPARISON, provenance={**settings.model_dump(), "vocabulary": vocabulary}) as write:
        for similarity in SIMILARITIES:
            for rule in RULES[role]:
                chosen = settings.model_copy(update={"similarity": similarity, "replay_rule": rule})
                judge = Judge(role, step, texts, chosen, source, vocabulary)
                for _, rows in kept_rows(manifest):
                    if not rows["image_id"]:
                        continue
                    found = judge.columns(rows)
                    write(
                        {
                            "image_id": rows["image_id"],
                            "class_ids": rows["class_ids"],
                            "role": found["role"],
                            "similarity": [similarity] * len(rows["image_id"]),
                            "rule": [rule] * len(rows["image_id"]),
                            "score": found["score"],
                            "kept": found["kept"],
                        }
                    )
