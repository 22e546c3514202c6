"""Initialisation of a new classifier."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn


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


@torch.no_grad()
def copy_unknown(unknown: nn.Module, newest: nn.Module, bias: bool = True) -> None:
    """Start SSUL's newest head from its unknown head, whose one output is repeated for every new class.

    Both heads have the same layers: a 1x1 convolution, or 3x3 convolution, norm (running statistics too) and 1x1
    convolution. `bias` off leaves the last bias as it is (the variant released with SATS, ciss_methods.md 4.10.8).
    """
    source, target = unknown.state_dict(), newest.state_dict()
    last_bias = [name for name in target if name.endswith("bias")][-1:]
    for name, value in target.items():
        if bias or name not in last_bias:
            value.copy_(source[name].expand_as(value))


@torch.no_grad()
def align_weights(classifiers: nn.ModuleList, against: Literal["all", "old", "background"] = "all") -> None:
    """Scale the newest classifier's weights to the mean row norm of the earlier ones (WA, CVPR 2020).

    `old` leaves the background's row out of the reference, `background` uses it alone. Biases stay.
    """
    *earlier, newest = (_conv(classifier) for classifier in classifiers)
    norms = torch.cat([_row_norms(classifier.weight) for classifier in earlier])
    chosen = {"all": norms, "old": norms[1:], "background": norms[:1]}[against]
    newest.weight.mul_(chosen.mean() / _row_norms(newest.weight).mean())


def _conv(module: nn.Module) -> nn.Conv2d:
    assert isinstance(module, nn.Conv2d)
    return module


def _row_norms(weight: Tensor) -> Tensor:
    return weight.flatten(1).norm(dim=1)
