"""Numeric width of losses: half precision is for convolutions, not for logarithms and sums over pixels."""

from __future__ import annotations

import torch
from torch import Tensor


def widened(x: Tensor) -> Tensor:
    """Return `x` in float32 if it is narrower; float32 and float64 come back unchanged, gradient kept."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
