"""SATS: cross-entropy on PLOP's labels, UNKD, and transfer pooled by class region (ciss_methods.md 4.11)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tests.oracle import mib, plop
from tests.oracle.ft import cross_entropy
from tests.oracle.pixels import IGNORED, Array


def thresholds(teacher: Sequence[Array], labels: Sequence[Array], n_total: int, floor: float) -> list[float]:
    """Return PLOP's thresholds with 0.005 in place of plus infinity."""
    return [0.005 if math.isinf(t) else t for t in plop.thresholds(teacher, labels, n_total, floor)]


def region_distance(a: Array, old: Array, labels: Array) -> float:
    """Return 4.11.2 for one image: a and old (h, rows, columns, K), labels (H, W) of any size."""
    height, width = labels.shape
    rows, columns = a.shape[1:3]
    at = {(i, j): labels[int((i + 0.5) * height / rows), int((j + 0.5) * width / columns)]
          for i in range(rows) for j in range(columns)}  # fmt: skip
    classes = set(at.values()) - {0, IGNORED}
    total = 0.0
    for c in classes:
        members = [place for place, label in at.items() if label == c]
        for h in range(len(a)):
            means = [np.mean([x[h][place] for place in members], axis=0) for x in (a, old)]
            total += math.dist(*means) / len(a)
    return total / max(1, len(classes))


def terms(
    z: Array, old: Array, y: Array, stages: Sequence[tuple[Array, Array]], limits: Sequence[float],
    remembered: Sequence[bool], weight: float, transfer: float,
) -> dict[str, float]:  # fmt: skip
    """Return the three terms; a stage holds (B, h, rows, columns, K) of student and teacher."""
    pseudo = plop.completed(y, old, limits, z.shape[1], remembered)
    found = [np.mean([region_distance(a[b], o[b], pseudo[b]) for b in range(len(y))]) for a, o in stages]
    return {
        "ce": cross_entropy(z, pseudo),
        "unkd": weight * mib.distillation(z, old, y),
        "transfer": transfer * float(sum(found)) / 4,
    }
