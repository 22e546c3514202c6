"""A point on the straight line between two networks (EWF, CVPR 2023; recent_methods.md 2.2)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

STATISTICS = ("running_mean", "running_var")
_KEPT_SHARE = 0.45


def new_share(n_new: int, n_old: int) -> float:
    """Return alpha = sqrt(n / (n + O)), the weight of the new network."""
    return math.sqrt(n_new / (n_new + n_old))


def threshold(old: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> float:
    """Return the smallest of the largest 45 % of |old - new| over all numbers of tensors that both have."""
    moved = torch.cat([(new[key] - value).abs().flatten() for key, value in old.items() if _fusible(value)])
    count = int(_KEPT_SHARE * moved.numel())
    return float(moved.topk(count).values[-1]) if count else math.inf


@torch.no_grad()
def fuse(
    old: Mapping[str, Tensor],
    new: Mapping[str, Tensor],
    share: float,
    *,
    statistics: bool = True,
    above: float = 0.0,
) -> None:
    """Replace tensors of `new` by (1 - share) old + share new, in place, wherever `old` has one of that name.

    Integer counters stay as they are, so do running statistics without `statistics`, and numbers that moved by less
    than `above`.
    """
    for key, value in old.items():
        if not _fusible(value) or (not statistics and key.endswith(STATISTICS)):
            continue
        mixed = torch.lerp(value, new[key], share)  # equal ends stay what they are, bit for bit
        new[key].copy_(torch.where((new[key] - value).abs() < above, new[key], mixed) if above else mixed)


def distance(old: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> float:
    """Return ||new - old|| / ||old|| over the tensors of `old`."""
    pairs = [(value.double(), new[key].double()) for key, value in old.items() if _fusible(value)]
    moved = math.sqrt(sum(float((b - a).square().sum()) for a, b in pairs))
    return moved / math.sqrt(sum(float(a.square().sum()) for a, _ in pairs))


def _fusible(value: Tensor) -> bool:
    return value.is_floating_point()
