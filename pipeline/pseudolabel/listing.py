"""The training list of a step: every image, its role, and where its labels come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.artifacts import NEW_CLASSES, PSEUDOLABELS, TRAIN_LIST, read_json, read_table, write_table

Row = dict[str, Any]


def write_train_list(
    protocol: Path,
    out: Path,
    selection: Path | None = None,
    filters: str = "both",
    pseudolabels: Path | None = None,
) -> list[Row]:
    """Write train_list.parquet and return its rows.

    Without `selection` the step's images are the protocol's own (role `dataset`, with masks); with it they are
    the web images kept under `filters` (role `web`, image-level labels alone). `pseudolabels` adds replay
    images. Raises ValueError if nothing is left, or if a web image is also an evaluation image.
    """
    facts = read_json(protocol)
    rows = _web_rows(selection, filters) if selection else _dataset_rows(facts)
    if not rows:
        raise ValueError(f"no image is left for step {facts['step']} with filters `{filters}`; loosen a threshold")
    new = {row["image_id"] for row in rows}
    if pseudolabels:
        # An image found for a new class must not be replayed as a negative of every new class.
        rows += [row for row in _replay_rows(pseudolabels) if row["image_id"] not in new]
    evaluation = {row["id"] for row in facts["val"]}
    leaked = sorted(row["image_id"] for row in rows if row["image_id"] in evaluation)
    if leaked:
        raise ValueError(f"{len(leaked)} evaluation images are in the training list, first {leaked[0]}")
    write_table(out, rows, TRAIN_LIST, provenance={"filters": filters if selection else ""})
    return rows


def _dataset_rows(facts: Row) -> list[Row]:
    return [
        _row(row["id"], "dataset", row["image"], row["mask"], row["labels"])
        for row in facts["train"]
    ]  # fmt: skip


def _web_rows(selection: Path, filters: str) -> list[Row]:
    merged: dict[str, Row] = {}
    for row in read_table(selection, NEW_CLASSES):
        if row["kept"] and row["filters"] == filters:
            earlier = merged.setdefault(row["image_id"], _row(row["image_id"], "web", row["image"], "", []))
            earlier["labels"] = sorted({*earlier["labels"], *row["labels"]})
    return [merged[image_id] for image_id in sorted(merged)]


def _replay_rows(pseudolabels: Path) -> list[Row]:
    return [
        _row(row["image_id"], "replay", row["image"], row["label"], row["class_ids"])
        for row in read_table(pseudolabels, PSEUDOLABELS)
        if not row["reason"]
    ]


def _row(image_id: str, role: str, image: str, mask: str, labels: list[int]) -> Row:
    return {"image_id": image_id, "role": role, "image": image, "mask": mask, "labels": labels}
