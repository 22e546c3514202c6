"""Amplitude spectra of images (web_wilss.md 6.8)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

OFFSET = 1e-3
LUMA = (0.299, 0.587, 0.114)


def amplitude(images: Tensor) -> Tensor:
    """Return |F| of images (..., H, W), orthonormal scaling, zero frequency in the middle."""
    return torch.fft.fftshift(torch.fft.fft2(images, norm="ortho").abs(), dim=(-2, -1))


def log_amplitude(images: Tensor) -> Tensor:
    """Return log(|F| + 1e-3) of images (..., H, W) in [0, 1], zero frequency in the middle."""
    return torch.log(amplitude(images) + OFFSET)


def luma(images: Tensor) -> Tensor:
    """Return the luma (B, 1, H, W) of RGB images; grey images pass."""
    if images.shape[1] == 1:
        return images
    weights = images.new_tensor(LUMA).view(1, 3, 1, 1)
    return (images * weights).sum(dim=1, keepdim=True)


def radial_profile(images: Tensor) -> Tensor:
    """Return log10 of the mean power per ring, (B, N/2), of square images (B, 1 or 3, N, N).

    Ring r holds the frequencies with floor(sqrt(u^2 + v^2)) = r.
    """
    power = amplitude(luma(images))[:, 0] ** 2
    side = power.shape[-1]
    steps = torch.arange(side, device=images.device) - side // 2
    radius = torch.sqrt((steps[:, None] ** 2 + steps[None, :] ** 2).double()).floor().long()
    rings = []
    for r in range(side // 2):
        rings.append(power[:, radius == r].mean(dim=1))
    return torch.log10(torch.stack(rings, dim=1) + 1e-8)


def swapped_entries(height: int, width: int, share: float) -> int:
    """Return how many amplitudes FDA swaps per channel: four corners of b x b, b = floor(min(h, w) * L)."""
    side = math.floor(min(height, width) * share)
    return 4 * side * side
