"""Pooled cube distillation of RCIL (CVPR 2022): maps averaged over space and over channels (recent_methods.md 5.4)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.losses.pod import fold_new_channels
from pipeline.runtime.precision import widened

WINDOWS = (4, 8, 12, 16, 20, 24)
CHANNELS = 3


def pooled_over_space(x: Tensor, window: int) -> Tensor:
    """Return means (B, C, h + 1, w + 1) of a map over square windows, zeros beyond its border counted.

    Source: RCIL (CVPR 2022); recent_methods.md 5.4.
    """
    return F.avg_pool2d(x, window, stride=1, padding=window // 2)


def pooled_over_channels(x: Tensor) -> Tensor:
    """Return means of a map (B, C, h, w) over 3 neighbouring channels as (B, h w, C), zeros beyond the ends counted.

    Source: RCIL (CVPR 2022); recent_methods.md 5.4.
    """
    return F.avg_pool1d(x.flatten(2).transpose(1, 2), CHANNELS, stride=1, padding=CHANNELS // 2)


def pooled_cube(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    *,
    growth: float,
    factor: float = 0.01,
    last_factor: float = 0.0005,
    windows: Sequence[int] = WINDOWS,
) -> tuple[Tensor, Tensor]:
    """Return the distances over space and over channels of maps (B, C, h, w), the logits last of them.

    The student's new logits are folded into channel 0. The channel form leaves the logits out. In each form the last
    map has `last_factor`, the others `factor`. `growth` is all outputs over new outputs.

    Source: RCIL (CVPR 2022); recent_methods.md 5.4.
    """
    differences = [_squared_difference(s, t) for s, t in zip(student, teacher, strict=True)]
    space, channel = widened(student[0]).new_zeros(()), widened(student[0]).new_zeros(())
    for index, difference in enumerate(differences):
        weight = last_factor if index == len(differences) - 1 else factor
        # Pooling is linear: the difference is pooled, one window at a time.
        distances = [_norm(pooled_over_space(difference, window)) for window in windows]
        space = space + weight * torch.stack(distances).mean()
    for index, difference in enumerate(differences[:-1]):
        weight = last_factor if index == len(differences) - 2 else factor
        channel = channel + weight * _norm(pooled_over_channels(difference))
    phi = math.sqrt(growth)
    return phi * space / len(differences), phi * channel / (len(differences) - 1)


def _squared_difference(student: Tensor, teacher: Tensor) -> Tensor:
    student, teacher = widened(student), widened(teacher)
    if student.shape[1] > teacher.shape[1]:
        student = fold_new_channels(student, teacher.shape[1])
    return teacher.square() - student.square()


def _norm(x: Tensor) -> Tensor:
    return x.flatten(1).norm(dim=1).mean()
