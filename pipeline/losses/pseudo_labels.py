"""Entropy-based pseudo-labels of PLOP (CVPR 2021) and SATS (ciss_methods.md 4.9.2-4.9.5).

Pixels whose step label is an old one (0 after masking) take the teacher's class if its uncertainty u is
below that class's threshold, else they are ignored. Thresholds are medians of u per predicted class.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from pipeline.runtime.precision import widened

Entropy = Literal["mean", "sum"]
Median = Literal["published", "exact"]
N_BINS = 100
FLOOR = 0.001
IGNORE_INDEX = 255
_OFFSET = 1e-8


def normalised_entropy(probabilities: Tensor, n_total: int | None = None, kind: Entropy = "mean") -> Tensor:
    """Return the uncertainty (B, H, W) of probabilities (B, O, H, W).

    `mean` (released code): -(1/O) sum p ln(p + 1e-8) / ln O, in [0, 1/O], divided by ln(n_total) if that is
    given (u of 4.9.2). `sum`: the true normalised entropy in [0, 1], whatever `n_total`.
    Raises ValueError for fewer than two classes or another kind.

    Source: PLOP (CVPR 2021), H and u; ciss_methods.md 4.9.2.
    """
    n_old = probabilities.shape[1]
    if n_old < 2 or kind not in ("mean", "sum"):
        raise ValueError(f"entropy needs two classes or more and kind mean or sum, got {n_old} classes and `{kind}`")
    p = widened(probabilities)
    entropy = -(p * torch.log(p + _OFFSET)).sum(dim=1) / math.log(n_old)
    if kind == "sum":
        return entropy
    return entropy / n_old if n_total is None else entropy / (n_old * math.log(n_total))


class UncertaintyHistogram:
    """Counts (O, 100) of u per class predicted by the teacher, over pixels of label 0.

    `counts` may be summed over processes before thresholds are taken.

    Source: PLOP (CVPR 2021); ciss_methods.md 4.9.3.
    """

    def __init__(self, n_old: int, n_total: int, kind: Entropy = "mean") -> None:
        self.n_old, self.n_total, self.kind = n_old, n_total, kind
        self.counts = torch.zeros(n_old, N_BINS, dtype=torch.int64)

    def update(self, teacher: Tensor, target: Tensor) -> None:
        """Count a batch: teacher logits (B, O, H, W) and step labels (B, H, W)."""
        probabilities = widened(teacher).softmax(dim=1)
        u = normalised_entropy(probabilities, self.n_total, self.kind)
        background = target == 0
        bins = (u[background] * N_BINS).long().clamp(0, N_BINS - 1)
        cells = probabilities.argmax(dim=1)[background] * N_BINS + bins
        counts = torch.bincount(cells, minlength=self.n_old * N_BINS)
        self.counts += counts.view(self.n_old, N_BINS).to(self.counts.device)


def entropy_thresholds(
    counts: Tensor,
    n_total: int,
    median: Median = "published",
    infinite: float | None = None,
    floor: float = FLOOR,
) -> Tensor:
    """Return thresholds (n_total,) float32 from histogram counts (O, 100); `floor` where nothing was counted.

    `published` repeats the released median, which accumulates bin indices instead of counts and may be
    infinite (+inf accepts every pixel of the class); `exact` accumulates counts. `infinite` replaces a median of +inf
    (SATS: 0.005), None keeps it (PLOP); -inf becomes the floor like every small value. Raises ValueError for another
    median.

    Source: PLOP (CVPR 2021), tau_c; ciss_methods.md 4.9.3.
    """
    if median not in ("published", "exact"):
        raise ValueError(f"unknown median `{median}`, expected published or exact")
    thresholds = torch.full((n_total,), floor)
    for channel, row in enumerate(counts.tolist()):
        value = max(floor, _median(row, median))
        thresholds[channel] = infinite if math.isinf(value) and infinite is not None else value
    return thresholds


def _median(row: list[int], kind: Median) -> float:
    half = sum(row) / 2
    if half == 0:
        return 0.0
    offset = 0
    for b, count in enumerate(row):
        if offset <= half <= offset + count or b == len(row) - 1:
            return _within(b, half - offset, count)
        offset += b if kind == "published" else count
    raise AssertionError("a histogram has bins")


def _within(b: int, part: float, count: int) -> float:
    if count:
        return (b + part / count) / N_BINS
    # Published rule only: an empty bin divides by zero. 0/0 there rejects the class, as the floor nearly does.
    return math.copysign(math.inf, part) if part else 0.0


def pseudo_targets(
    target: Tensor,
    teacher: Tensor,
    thresholds: Tensor,
    n_total: int,
    kind: Entropy = "mean",
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    """Return labels (B, H, W): where `target` is below O, the teacher's class if u < its threshold, else ignored.

    teacher: logits (B, O, H, W) at the target's size; thresholds (n_total,). Other pixels keep their label.

    Source: PLOP (CVPR 2021); ciss_methods.md 4.9.4.
    """
    probabilities = widened(teacher).softmax(dim=1)
    u = normalised_entropy(probabilities, n_total, kind)
    chosen = probabilities.argmax(dim=1)
    accepted = u < thresholds.to(u)[chosen]
    guess = torch.where(accepted, chosen, torch.full_like(chosen, ignore_index)).to(target.dtype)
    return torch.where(target < teacher.shape[1], guess, target)


def adaptive_factor(
    target: Tensor,
    pseudo: Tensor,
    n_old: int,
    epsilon: float = 1e-6,
    floor: float = 0.0,
    ignore_index: int = IGNORE_INDEX,
) -> Tensor:
    """Return nu (B,) float32: the share of old-labelled pixels whose pseudo-label was accepted, at least `floor`.

    Source: PLOP (CVPR 2021), nu; ciss_methods.md 4.9.5.
    """
    old = target < n_old
    accepted = (old & (pseudo != ignore_index)).sum(dim=(1, 2)).float()
    return (accepted / (old.sum(dim=(1, 2)) + epsilon)).clamp(min=floor)
