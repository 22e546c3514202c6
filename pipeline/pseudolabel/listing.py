"""The training list of a step: every image, its role, and where its labels come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.artifacts import NEW_CLASSES, PSEUDOLABELS, TRAIN_LIST, read_provenance, read_table, write_table
from pipeline.artifacts.rows import TrainRow
from pipeline.config import CrawlIngest
from pipeline.datasets.evaluation_images import evaluation_hashes, near_evaluation
from pipeline.datasets.memory import select_memory
from pipeline.datasets.protocol_file import Protocol, read_protocol


@dataclass(frozen=True)
class Sources:
    """Where the images of a step come from, beside its own protocol; nothing set means the data set alone.

    selection: new_classes.parquet, whose images kept under `filters` stand in for the data set's.
    pseudolabels: pseudolabels.parquet, replay images. earlier: protocols of the steps before, whose images are
    trained on again with all their labels (`joint`). memory: how many exemplars to keep of the images in
    `previous`, the training list of the step before.
    """

    selection: Path | None = None
    filters: str = "both"
    pseudolabels: Path | None = None
    earlier: tuple[Path, ...] = ()
    memory: int = 0
    previous: Path | None = None


def write_train_list(protocol: Path, out: Path, sources: Sources | None = None) -> list[TrainRow]:
    """Write train_list.parquet and return its rows.

    Roles: `dataset` (masks of the step's classes), `web` (image-level labels alone), `replay` (the old model's
    labels), `memory` and `joint` (true labels of every class so far). Raises ValueError if nothing is left, or if
    an evaluation image is in the list.
    """
    step, sources = read_protocol(protocol), sources or Sources()
    rows = _own_rows(step, sources)
    if not rows:
        if sources.selection is None:
            raise ValueError(f"no image of the data set shows a class of step {step.step}; use new_images: web")
        raise ValueError(f"no image is left for step {step.step} with filters `{sources.filters}`; loosen a threshold")
    # An image of a new class must not come back as a negative of every new class, nor twice.
    rows += _without(rows, _replay_rows(sources.pseudolabels))
    rows += _memory_rows(step, sources, taken=rows)
    _refuse_evaluation_images(step, rows, sources)
    write_table(out, rows, TRAIN_LIST, provenance={"filters": sources.filters if sources.selection else ""})
    return rows


def _refuse_evaluation_images(protocol: Protocol, rows: list[TrainRow], sources: Sources) -> None:
    evaluation = {image.id for image in protocol.evaluation}
    leaked = sorted(row["image_id"] for row in rows if row["image_id"] in evaluation)
    if leaked:
        raise ValueError(f"{len(leaked)} evaluation images are in the training list, first {leaked[0]}")
    # Crawled images were compared by the crawl. Imported ones have the sha256 of their bytes as id, no data set's.
    if sources.pseudolabels and "imported_from" in read_provenance(sources.pseudolabels):
        replayed = [row["image"] for row in rows if row["role"] == "replay"]
        near = near_evaluation(replayed, evaluation_hashes(protocol), CrawlIngest().near_duplicate_bits)
        if alike := [image for image, same in zip(replayed, near, strict=True) if same]:
            raise ValueError(
                f"{len(alike)} imported replay images look like evaluation images, first {alike[0]}; import again "
                "with --protocol, which leaves them out"
            )


def _own_rows(protocol: Protocol, sources: Sources) -> list[TrainRow]:
    if sources.selection:
        return _web_rows(sources.selection, sources.filters)
    if not sources.earlier:
        return _dataset_rows(protocol, "dataset")
    protocols = [*map(read_protocol, sources.earlier), protocol]
    merged = {row["image_id"]: row for step in protocols for row in _dataset_rows(step, "joint")}
    return [merged[image_id] for image_id in sorted(merged)]


def _dataset_rows(protocol: Protocol, role: str) -> list[TrainRow]:
    return [_row(image.id, role, image.image, image.mask, list(image.labels)) for image in protocol.train]


def _without(taken: list[TrainRow], rows: list[TrainRow]) -> list[TrainRow]:
    ids = {row["image_id"] for row in taken}
    return [row for row in rows if row["image_id"] not in ids]


def _memory_rows(protocol: Protocol, sources: Sources, taken: list[TrainRow]) -> list[TrainRow]:
    if not sources.memory:
        return []
    assert sources.previous is not None
    known = [c for classes in protocol.classes_per_step[: protocol.step] for c in classes if c]
    earlier = [row for row in read_table(sources.previous, TRAIN_LIST) if row["role"] in ("dataset", "memory")]
    seen = _without(taken, earlier)
    candidates = [{c for c in row["labels"] if c in known} for row in seen]
    return [{**seen[i], "role": "memory"} for i in select_memory(candidates, known, sources.memory)]


def _web_rows(selection: Path, filters: str) -> list[TrainRow]:
    merged: dict[str, TrainRow] = {}
    for row in read_table(selection, NEW_CLASSES):
        if row["kept"] and row["filters"] == filters:
            earlier = merged.setdefault(row["image_id"], _row(row["image_id"], "web", row["image"], "", []))
            earlier["labels"] = sorted({*earlier["labels"], *row["labels"]})
    return [merged[image_id] for image_id in sorted(merged)]


def _replay_rows(pseudolabels: Path | None) -> list[TrainRow]:
    if pseudolabels is None:
        return []
    return [
        _row(row["image_id"], "replay", row["image"], row["label"], row["class_ids"])
        for row in read_table(pseudolabels, PSEUDOLABELS)
        if not row["reason"]
    ]


def _row(image_id: str, role: str, image: str, mask: str, labels: list[int]) -> TrainRow:
    return {"image_id": image_id, "role": role, "image": image, "mask": mask, "labels": labels}
