"""Confusion matrix and the scores derived from it (web_wilss.md 8, ciss_methods.md 6).

Evaluation reports them and training may choose an epoch by them, so they belong to neither stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

EPSILON = 1e-6


class ConfusionMatrix:
    """Pixel counts, rows = truth, columns = prediction. Targets outside 0..n-1 (such as 255) are skipped."""

    def __init__(self, n_classes: int) -> None:
        self.n_classes = n_classes
        self.counts: NDArray[np.int64] = np.zeros((n_classes, n_classes), np.int64)

    @classmethod
    def load(cls, path: str | Path) -> ConfusionMatrix:
        """Return the matrix of a confusion.npy, as evaluation writes it."""
        counts = np.load(path, allow_pickle=False)
        matrix = cls(len(counts))
        matrix.counts += counts
        return matrix

    def update(self, target: NDArray[Any], prediction: NDArray[Any]) -> ConfusionMatrix:
        """Count the pixels of arrays of equal shape; return self.

        Raises ValueError if the shapes differ or a prediction is not one of the classes.
        """
        target, prediction = np.asarray(target).astype(np.int64), np.asarray(prediction).astype(np.int64)
        if target.shape != prediction.shape:
            raise ValueError(f"target has shape {target.shape}, prediction {prediction.shape}; they must agree")
        counted = (target >= 0) & (target < self.n_classes)
        chosen = prediction[counted]
        if chosen.size and (chosen.min() < 0 or chosen.max() >= self.n_classes):
            raise ValueError(f"prediction holds class {chosen.max()}, the matrix has {self.n_classes} classes")
        flat = target[counted] * self.n_classes + chosen
        self.counts += np.bincount(flat, minlength=self.n_classes**2).reshape(self.n_classes, self.n_classes)
        return self

    def merge(self, other: ConfusionMatrix) -> ConfusionMatrix:
        """Add another matrix of the same size (of another shard or process); return self."""
        if other.n_classes != self.n_classes:
            raise ValueError(f"cannot merge matrices of {self.n_classes} and {other.n_classes} classes")
        self.counts += other.counts
        return self

    def iou(self) -> NDArray[np.float64]:
        """Return IoU per class as a fraction, NaN for classes without a ground-truth pixel."""
        truth, predicted, hit = self._margins()
        values = hit / (truth + predicted - hit + EPSILON)
        return np.where(truth > 0, values, np.nan)

    def scores(self, old: Sequence[int], new: Sequence[int]) -> dict[str, Any]:
        """Return fractions: iou per class and the aggregates every paper reports.

        `old` and `new` are channel ids; background (0) is left out of both, as in WILSON. `all` is the
        mean over every class with ground truth, background included; `all_no_background` leaves it out,
        as in MiB. `harmonic` is the harmonic mean of old and new. NaN where nothing can be averaged.
        """
        truth, predicted, hit = self._margins()
        iou = self.iou()
        present = truth > 0
        total = max(float(truth.sum()), 1.0)
        accuracy = hit / (truth + EPSILON)
        old_mean = _mean(iou[[c for c in old if c != 0]])
        new_mean = _mean(iou[[c for c in new if c != 0]])
        return {
            "iou": iou,
            "old": old_mean,
            "new": new_mean,
            "all": _mean(iou),
            "all_no_background": _mean(iou[1:]),
            "harmonic": _harmonic(old_mean, new_mean),
            "overall_accuracy": float(hit.sum() / total),
            "mean_accuracy": _mean(np.where(present, accuracy, np.nan)),
            "mean_precision": float(np.mean(hit / (predicted + EPSILON))),
            "frequency_weighted_iou": float(np.nansum(np.where(present, truth / total * iou, 0.0))),
        }

    def _margins(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        counts = self.counts.astype(np.float64)
        return counts.sum(axis=1), counts.sum(axis=0), np.diag(counts)


def _mean(values: NDArray[np.float64]) -> float:
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")


def _harmonic(first: float, second: float) -> float:
    if np.isnan(first) or np.isnan(second) or first + second == 0:
        return float("nan") if np.isnan(first) or np.isnan(second) else 0.0
    return 2 * first * second / (first + second)
