"""Distillation of logits and features as pure functions (ciss_methods.md 4.2 to 4.8).

Shapes: logits (B, N, H, W), teacher logits (B, O, H, W) with O <= N old channels.
Everything is computed in float32 at least. POD and attention transfer live in pod.py and attention.py.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.losses.pixel import one_hot
from pipeline.runtime.precision import widened


def knowledge_distillation(logits: Tensor, teacher: Tensor, alpha: float = 1.0) -> Tensor:
    """Return the mean over pixels of -(1/O) sum_c softmax(alpha * teacher)_c log softmax(logits[:O])_c (KD).

    Source: LwF (ECCV 2016) as MiB's code has it (CVPR 2020); ciss_methods.md 4.0, KD.
    """
    n_old = teacher.shape[1]
    log_p = F.log_softmax(widened(logits)[:, :n_old], dim=1)
    return -(F.softmax(alpha * widened(teacher), dim=1) * log_p).mean(dim=1).mean()


def unbiased_knowledge_distillation(logits: Tensor, teacher: Tensor, alpha: float = 1.0) -> Tensor:
    """Return MiB's distillation: the student's background and new classes together face the old background.

    UNKD, CVPR 2020 eq. 8; mean over the O old channels and over all pixels.

    Source: MiB (CVPR 2020) eq. 8; ciss_methods.md 4.0, UNKD.
    """
    n_old, logits = teacher.shape[1], widened(logits)
    total = torch.logsumexp(logits, dim=1, keepdim=True)
    old = logits[:, 1:n_old] - total
    background = torch.logsumexp(torch.cat([logits[:, :1], logits[:, n_old:]], dim=1), dim=1, keepdim=True) - total
    q = F.softmax(alpha * widened(teacher), dim=1)
    return -(q * torch.cat([background, old], dim=1)).mean(dim=1).mean()


def icarl_combined(logits: Tensor, teacher: Tensor) -> Tensor:
    """Return O * mean over pixels and old channels of BCE(sigma(logits), sigma(teacher)) (LWF-MC).

    Source: iCaRL (CVPR 2017) as MiB's code has it; ciss_methods.md 4.3.
    """
    n_old = teacher.shape[1]
    return n_old * F.binary_cross_entropy_with_logits(widened(logits)[:, :n_old], torch.sigmoid(widened(teacher)))


def icarl_disjoint(
    logits: Tensor, target: Tensor, teacher: Tensor, background: float = 0.0, ignore_index: int = 255
) -> Tensor:
    """Return one BCE whose old-channel targets are the teacher's sigmoids (web_wilss.md 4.12).

    The background target is r * label + (1 - r) * teacher with r = `background`, their minimum for r = -1.

    Source: iCaRL (CVPR 2017) as MiB's code has it; ciss_methods.md 4.3.
    """
    n_old, logits = teacher.shape[1], widened(logits)
    goal = one_hot(target, logits.shape[1], ignore_index, logits.dtype)
    old = torch.sigmoid(widened(teacher)).to(logits.dtype)
    label_background = goal[:, :1].clone()
    goal[:, :n_old] = old
    if background == -1:
        goal[:, :1] = torch.minimum(label_background, old[:, :1])
    else:
        goal[:, :1] = background * label_background + (1 - background) * old[:, :1]
    return F.binary_cross_entropy_with_logits(logits, goal, reduction="none").sum(dim=1).mean()


def feature_mse(features: Tensor, teacher_features: Tensor) -> Tensor:
    """Return the mean squared error over all elements, in float32 at least (l_ENC, ILT).

    Source: ILT (ICCVW 2019) and l_ENC of WILSON (CVPR 2022); ciss_methods.md 4.4 and web_wilss.md 4.5.
    """
    return F.mse_loss(widened(features), widened(teacher_features))
