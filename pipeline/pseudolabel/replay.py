"""Which web images of the old classes are replayed (web_wilss.md 5.1, 6.4)."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from pipeline.artifacts import MANIFEST, NOUN_FILTER, REPLAY, image_address, read_table, write_table
from pipeline.artifacts.rows import ManifestRow, NounFilterRow, ReplayRow
from pipeline.config import PseudoLabel
from pipeline.datasets.turns import in_turns


def select_replay(noun_filter: Path, manifest: Path, shards: Path, settings: PseudoLabel, out: Path) -> None:
    """Write replay.parquet: a row per candidate of the caption queries, kept or with the reason why not.

    Of the images that pass the noun filter the first `per_query` of each caption are eligible; the budget is
    dealt out over the source images' classes in turn.
    """
    rows = {row["image_id"]: row for row in read_table(manifest, MANIFEST) if row["status"] == "kept"}
    judged = read_table(noun_filter, NOUN_FILTER)
    reasons = {row["image_id"]: row["reason"] for row in judged}
    per_query: dict[str, int] = defaultdict(int)
    by_class: dict[int, list[str]] = defaultdict(list)
    for row in sorted(judged, key=lambda r: (r["query_id"], rows[r["image_id"]]["rank"])):
        if not row["kept"]:
            continue
        if per_query[row["query_id"]] >= settings.per_query:
            reasons[row["image_id"]] = "over_query_budget"
            continue
        per_query[row["query_id"]] += 1
        classes = rows[row["image_id"]]["class_ids"]
        by_class[min(classes, key=lambda c: (len(by_class[c]), c))].append(row["image_id"])
    for image_id in _beyond(by_class, settings.replay_budget):
        reasons[image_id] = "over_budget"
    table = [_row(rows[row["image_id"]], row, reasons[row["image_id"]], shards) for row in judged]
    write_table(out, table, REPLAY, provenance=settings.model_dump())


def _beyond(by_class: dict[int, list[str]], budget: int) -> list[str]:
    return in_turns([by_class[c] for c in sorted(by_class)])[budget:]


def _row(row: ManifestRow, judged: NounFilterRow, reason: str, shards: Path) -> ReplayRow:
    return {
        "image_id": row["image_id"],
        "query_id": row["query_id"],
        "source_image_id": row["source_image_id"],
        "class_ids": row["class_ids"],
        "image": image_address(f"{shards}/{row['shard']}.tar", row["image_id"]),
        "score": judged["score"],
        "threshold": judged["threshold"],
        "kept": not reason,
        "reason": reason,
    }
