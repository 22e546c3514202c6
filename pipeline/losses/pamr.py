"""PAMR: pixel-adaptive mask refinement (Araslanov and Roth, CVPR 2020; web_wilss.md 4.6)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

DILATIONS = (1, 2, 4, 8, 12)
_OFFSETS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]


def neighbours(x: Tensor, dilations: Sequence[int] = DILATIONS) -> Tensor:
    """Return (B, C, 8 * len(dilations), H, W): rings of neighbours, row by row, replicate padding.

    Source: Araslanov and Roth (CVPR 2020); web_wilss.md 4.6.
    """
    height, width = x.shape[-2:]
    reach = max(dilations)
    padded = F.pad(x, (reach,) * 4, mode="replicate")
    shifted = [
        padded[..., reach + dy * d : reach + dy * d + height, reach + dx * d : reach + dx * d + width]
        for d in dilations
        for dy, dx in _OFFSETS
    ]
    return torch.stack(shifted, dim=2)


def local_deviation(image: Tensor, dilations: Sequence[int] = DILATIONS) -> Tensor:
    """Return the unbiased deviation (B, C, H, W) over neighbours and, once per dilation, the centre.

    Source: Araslanov and Roth (CVPR 2020), sigma; web_wilss.md 4.6.
    """
    around = neighbours(image, dilations)
    centre = image.unsqueeze(2).expand(-1, -1, len(dilations), -1, -1)
    return torch.cat([around, centre], dim=2).std(dim=2)


def affinity(image: Tensor, dilations: Sequence[int] = DILATIONS) -> Tensor:
    """Return weights (B, 8 * len(dilations), H, W) that sum to one over the neighbours.

    Source: Araslanov and Roth (CVPR 2020), a; web_wilss.md 4.6.
    """
    difference = (image.unsqueeze(2) - neighbours(image, dilations)).abs()
    scale = 1e-8 + 0.1 * local_deviation(image, dilations).unsqueeze(2)
    return (-(difference / scale).mean(dim=1)).softmax(dim=1)


@torch.no_grad()
def pamr(image: Tensor, masks: Tensor, iterations: int = 10, dilations: Sequence[int] = DILATIONS) -> Tensor:
    """Return masks (B, N, h, w) refined by `iterations` of neighbour averaging with image affinities.

    image (B, 3, H, W) in [0, 1] is resized to the masks' size (bilinear, corners aligned). Runs in float32
    at least, whatever autocast says; no gradient.

    Source: Araslanov and Roth (CVPR 2020), used by WILSON (CVPR 2022); web_wilss.md 4.6.
    """
    wide = torch.promote_types(masks.dtype, torch.float32)
    with torch.autocast(masks.device.type, enabled=False):
        image, masks = image.to(wide).contiguous(), masks.to(wide).contiguous()
        if image.shape[-2:] != masks.shape[-2:]:
            image = F.interpolate(image, size=masks.shape[-2:], mode="bilinear", align_corners=True)
        weights = affinity(image, dilations)
        for _ in range(iterations):
            masks = _average(masks, weights, dilations)
    return masks


def _average(masks: Tensor, weights: Tensor, dilations: Sequence[int]) -> Tensor:
    # One pass over shifted views instead of a stacked copy: 40 times less memory.
    height, width = masks.shape[-2:]
    reach = max(dilations)
    padded = F.pad(masks, (reach,) * 4, mode="replicate")
    out = torch.zeros_like(masks)
    index = 0
    for d in dilations:
        for dy, dx in _OFFSETS:
            y, x = reach + dy * d, reach + dx * d
            out.addcmul_(padded[..., y : y + height, x : x + width], weights[:, index : index + 1])
            index += 1
    return out
