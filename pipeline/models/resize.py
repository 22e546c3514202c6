"""Bilinear resizing of logits, in float32."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def upsample(logits: Tensor, size: Sequence[int]) -> Tensor:
    """Return logits (B, N, H, W) at `size` (H, W), bilinear, corners not aligned, at least float32."""
    logits = logits if logits.dtype.itemsize >= 4 else logits.float()
    if tuple(logits.shape[-2:]) == tuple(size):
        return logits
    return F.interpolate(logits, size=tuple(size), mode="bilinear", align_corners=False)
