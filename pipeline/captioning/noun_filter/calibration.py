"""Per-class thresholds of the noun filter from a labelled sample."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from pipeline.artifacts import NOUN_FILTER, iter_table, write_text
from pipeline.datasets.protocol_file import read_protocol

_YES, _NO = {"1", "true", "yes"}, {"0", "false", "no"}


@dataclass(frozen=True)
class Calibrated:
    """A class's threshold and what it gives on the sample (precision, recall, F1 in 0..1)."""

    name: str
    threshold: float
    precision: float
    recall: float
    f1: float
    images: int


def calibrate(
    scores: Path, protocol: Path, sample: Mapping[tuple[str, int], bool], out: Path, min_precision: float = 0.0
) -> list[Calibrated]:
    """Write a YAML file of `captioning.noun_filter.thresholds` and return what it holds.

    `scores` is a noun_filter table of new classes, `sample` says for (image id, class id) whether the image shows the
    class. Per class: the threshold of the best F1 among those of at least `min_precision`; classes without right
    and wrong images in the sample keep the common threshold.
    Raises ValueError if no image of the sample is in the table.
    """
    names = read_protocol(protocol).class_names
    judged: dict[int, list[tuple[float, bool]]] = defaultdict(list)
    for part in iter_table(scores, NOUN_FILTER, ["image_id", "class_id", "score"]):
        for image, class_id, score in zip(*part.values(), strict=True):
            if (image, class_id) in sample:
                judged[class_id].append((score, sample[image, class_id]))
    if not judged:
        raise ValueError(f"none of the {len(sample)} labelled images is in {scores}; label images of that table")
    found = []
    for class_id, pairs in sorted(judged.items()):
        best = best_threshold([s for s, _ in pairs], [right for _, right in pairs], min_precision)
        if best is not None:
            found.append(Calibrated(names[class_id], *best, images=len(pairs)))
    thresholds = {row.name: round(row.threshold, 6) for row in found}
    settings = {"captioning": {"noun_filter": {"thresholds": thresholds}}}
    write_text(out, "# Per-class thresholds: snakemake --configfile this file\n" + yaml.safe_dump(settings))
    return found


def best_threshold(
    scores: Sequence[float], right: Sequence[bool], min_precision: float = 0.0
) -> tuple[float, float, float, float] | None:
    """Return (threshold, precision, recall, F1) of the best F1, or None without both kinds or enough precision.

    An image passes if its score exceeds the threshold; thresholds lie midway between neighbouring scores.
    NaN never passes.
    """
    values, truth = np.nan_to_num(np.asarray(scores, float), nan=-np.inf), np.asarray(right, bool)
    if truth.all() or not truth.any():
        return None
    order = np.argsort(-values, kind="stable")
    values, truth = values[order], truth[order]
    hits = np.cumsum(truth)
    precision, recall = hits / np.arange(1, len(hits) + 1), hits / truth.sum()
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    following = np.append(values[1:], -1.0)
    allowed = (values > following) & np.isfinite(values) & (precision >= min_precision)
    if not allowed.any():
        return None
    k = int(np.argmax(np.where(allowed, f1, -1)))
    threshold = float(values[k] + max(following[k], -1.0)) / 2
    return threshold, float(precision[k]), float(recall[k]), float(f1[k])


def read_sample(path: Path) -> dict[tuple[str, int], bool]:
    """Return {(image id, class id): shows it} of a CSV with columns image_id, class_id, right. Raises ValueError."""
    sample = {}
    with path.open(newline="", encoding="utf-8") as text:
        rows = csv.DictReader(text)
        for row in rows:
            answer = str(row.get("right", "")).strip().lower()
            if answer not in _YES | _NO or not str(row.get("class_id", "")).isdigit() or not row.get("image_id"):
                raise ValueError(
                    f"{path}:{rows.line_num}: expected the columns image_id, class_id and right (yes or no), got {row}"
                )
            sample[row["image_id"], int(row["class_id"])] = answer in _YES
    return sample
