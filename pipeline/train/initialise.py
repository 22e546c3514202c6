"""Initialisation of a new classifier."""

from __future__ import annotations

import math

import torch
from torch import nn


@torch.no_grad()
def balanced(classifiers: nn.ModuleList) -> None:
    """Start the newest classifier from the background's weights (MiB, CVPR 2020 eq. 9).

    With n new classes and background bias beta every new bias and the background's own become
    beta - log(n + 1), so that their probabilities sum to the old background's.
    """
    first, newest = classifiers[0], classifiers[-1]
    assert isinstance(first, nn.Conv2d) and isinstance(newest, nn.Conv2d)
    assert first.bias is not None and newest.bias is not None
    newest.weight.copy_(first.weight[:1].expand_as(newest.weight))
    bias = first.bias[0] - math.log(newest.out_channels + 1)
    newest.bias.fill_(float(bias))
    first.bias[0] = bias
