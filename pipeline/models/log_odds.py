"""Sigmoid logits of a model that was trained under a softmax."""

from __future__ import annotations

import torch
from torch import Tensor


def log_odds(logits: Tensor) -> Tensor:
    """Return per-class log-odds (B, N, h, w) of softmax logits (B, N, h, w), float32, N at least 2.

    Under a softmax p_c = exp(z_c) / sum_j exp(z_j), so that the odds of c against all others are
    p_c / (1 - p_c) = exp(z_c) / sum_{j != c} exp(z_j), and their logarithm is

        s_c = z_c - logsumexp_{j != c} z_j.

    As sigmoid(log(p / (1 - p))) = p, sigmoid(s_c) = p_c: the model's own probabilities, in the form that binary losses
    (WILSON's) ask for. p -> log(p / (1 - p)) grows strictly, so that the order of the classes at a pixel, and with it
    the decision, stays: where z_c > z_d, s_c - s_d = (z_c - z_d) + (logsumexp_{j != d} - logsumexp_{j != c}) exceeds
    z_c - z_d, because the first sum holds exp(z_c) where the second holds exp(z_d). Decisions are equal at the
    resolution of the logits (of two best logits that are equal to rounding either may win); a bilinear enlargement
    mixes neighbours' scores, which can move a border by a pixel.
    """
    z = logits.float()
    best = z.argmax(dim=1, keepdim=True)
    channels = torch.arange(z.shape[1], device=z.device).view(1, -1, 1, 1)
    is_best = channels == best
    shifted = z - z.amax(dim=1, keepdim=True).detach()
    powers = shifted.exp()
    # The best class is among the others of every other class: their sum is at least 1 and loses nothing.
    others = (powers.sum(dim=1, keepdim=True) - powers).masked_fill(is_best, 1.0).log()
    against_best = shifted.masked_fill(is_best, -torch.inf).logsumexp(dim=1, keepdim=True)
    return shifted - torch.where(is_best, against_best, others)


def with_log_odds(logits: Tensor, channels: int) -> Tensor:
    """Return logits whose first `channels` are log-odds among themselves; later ones are sigmoid logits already."""
    return torch.cat([log_odds(logits[:, :channels]), logits[:, channels:].float()], dim=1)


def checked_channels(channels: object, total: int) -> int:
    """Return the option's value. Raises ValueError unless it is 0, or from 2 to the number of channels."""
    if not isinstance(channels, int) or channels not in (0, *range(2, total + 1)):
        raise ValueError(f"option log_odds is {channels!r}, expected 0 or a number of channels from 2 to {total}")
    return channels
