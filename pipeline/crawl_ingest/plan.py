"""Query plans: which texts are searched, for which classes, in which shard."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from pipeline.artifacts import CAPTIONS, QUERIES, read_table, write_table
from pipeline.artifacts.rows import CaptionRow, QueryRow
from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.faults import in_one_line
from pipeline.datasets.protocol_file import Protocol, read_protocol
from pipeline.datasets.turns import in_turns

QUERY_WORDS = {
    "aeroplane": "airplane", "diningtable": "dining table", "motorbike": "motorcycle",
    "pottedplant": "potted plant", "tvmonitor": "television",
}  # fmt: skip
"""VOC's own names that people do not type into a search box."""


@in_one_line
def write_plan(plan: str, protocol: Path, settings: CrawlIngest, out: Path, captions: Path | None = None) -> None:
    """Write the queries of a plan.

    `base`: a class-name query per class of step 0. `step<k>`: one per class of step k. `replay<k>`: captions
    of base images, as many as `replay_queries`, spread evenly over the classes they show; where step 0 has no image,
    the names of its classes.
    Raises ValueError for an unknown plan, for another step's protocol, or if a replay plan has no captions.
    """
    described = read_protocol(protocol)
    known = re.fullmatch(r"base|(step|replay)(\d+)", plan)
    if not known:
        raise ValueError(f"got plan {plan!r}, expected base, step<k> or replay<k>")
    step = int(known[2]) if known[1] == "step" else 0
    if described.step != step:
        raise ValueError(f"plan {plan} needs the protocol of step {step}, got {protocol} of step {described.step}")
    if known[1] == "replay":
        if captions is not None:
            rows = _caption_queries(described, read_table(captions, CAPTIONS), settings.replay_queries)
        elif described.train:
            raise ValueError(f"plan {plan} asks with captions of base images; pass --captions")
        else:
            rows = _class_queries(described)
    else:
        rows = _class_queries(described)
    for index, row in enumerate(rows):
        row["shard"] = index % settings.shards
    write_table(out, rows, QUERIES, provenance={"plan": plan})


@in_one_line
def write_class_plan(names: Path, settings: CrawlIngest, out: Path) -> None:
    """Write a query for each class of a text file, one name per line; the first line is class 1.

    Raises ValueError if the file has no names or one of them twice.
    """
    listed = [name for line in names.read_text().splitlines() if (name := line.strip())]
    if not listed or len(set(listed)) != len(listed):
        raise ValueError(
            f"{names} holds {len(listed)} class names, {len(set(listed))} of them different; expected one a line"
        )
    rows = [_row(QUERY_WORDS.get(name, name), "class", [number], "") for number, name in enumerate(listed, 1)]
    for index, row in enumerate(rows):
        row["shard"] = index % settings.shards
    write_table(out, rows, QUERIES, provenance={"plan": "classes"})


def query_limit(plan: str, settings: CrawlIngest) -> int:
    """Return how many candidates a query of the plan may bring."""
    if plan.startswith("replay"):
        return settings.per_caption
    return settings.base_per_class if plan == "base" else settings.per_class


def _class_queries(protocol: Protocol) -> list[QueryRow]:
    rows = []
    for class_id in protocol.new_classes:
        if class_id:
            name = protocol.class_names[class_id]
            rows.append(_row(QUERY_WORDS.get(name, name), "class", [class_id], ""))
    return rows


def _caption_queries(protocol: Protocol, captions: Sequence[CaptionRow], budget: int) -> list[QueryRow]:
    labels = {row.id: row.labels for row in protocol.train}
    known = set(protocol.classes_per_step[0])
    by_class: dict[int, list[QueryRow]] = defaultdict(list)
    texts: set[str] = set()
    for caption in sorted(captions, key=lambda row: str(row["image_id"])):
        text, image_id = caption["caption"], caption["image_id"]
        if not text or text in texts or image_id not in labels:
            continue
        texts.add(text)
        classes = [c for c in labels[image_id] if c in known]
        row = _row(text, "caption", classes, image_id)
        by_class[min(classes, key=lambda c: (len(by_class[c]), c))].append(row)
    return in_turns([by_class[c] for c in sorted(by_class)])[:budget]


def _row(text: str, kind: str, class_ids: list[int], source: str) -> QueryRow:
    digest = hashlib.sha256(f"{kind}\0{text}\0{source}".encode()).hexdigest()[:16]
    return {
        "query_id": digest,
        "text": text,
        "kind": kind,
        "class_ids": class_ids,
        "source_image_id": source,
        "shard": 0,
    }
