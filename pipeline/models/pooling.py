"""The pooling branch of the segmentation head (web_wilss.md 3.5)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def pooled_context(x: Tensor, window: int, training: bool) -> Tensor:
    """Return the context of features (B, C, H, W): their global mean in training, (B, C, 1, 1).

    In evaluation a moving mean over min(window, side), stride 1, replicate-padded back to (B, C, H, W), so that
    larger images than the training crop see a context of the size they were trained with.
    """
    if training:
        return x.mean(dim=(2, 3), keepdim=True)
    if torch.jit.is_tracing() or torch.compiler.is_exporting():
        # A traced pooling would keep the window of the image it was traced with.
        return _averaging(x, 2, window) @ x @ _averaging(x, 3, window).transpose(0, 1)
    height, width = min(window, x.shape[-2]), min(window, x.shape[-1])
    pooled = F.avg_pool2d(x, (height, width), stride=1)
    left, top = (width - 1) // 2, (height - 1) // 2
    return F.pad(pooled, (left, width - 1 - left, top, height - 1 - top), mode="replicate")


def _averaging(x: Tensor, axis: int, window: int) -> Tensor:
    """Return the matrix (side, side) that takes the same moving mean along an axis, for a side known when it runs."""
    position = torch.arange(x.shape[axis], device=x.device)
    side = position[-1] + 1
    size = side.clamp(max=window)
    start = (position - torch.div(size - 1, 2, rounding_mode="floor")).clamp(min=0)
    start = torch.minimum(start, side - size)[:, None]
    inside = (position >= start) & (position < start + size)
    return inside.to(x.dtype) / size.to(x.dtype)
