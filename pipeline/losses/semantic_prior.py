"""RaSP's prior (CoLLAs 2023): what the names of classes say about where a new class may be.

Shapes: similarity (N, N) in channel order; teacher logits (B, O, h, w); localizer logits (B, N, h, w); labels (B, n)
of the n new classes. Everything is computed in float32 at least.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.distributed.whole_batch import AT_HAND, Count
from pipeline.losses.wilson import Pooling, pooled_scores, self_supervised_values
from pipeline.runtime.precision import widened

__all__ = ["agreeing_self_supervision", "labelled_classification", "name_similarity", "semantic_loss"]
__all__ += ["semantic_table", "semantic_targets"]


def name_similarity(embeddings: Tensor, tau: float = 5.0) -> Tensor:
    """Return exp(-tau (1 - cos)) of every pair of embeddings (N, D), an (N, N) matrix.

    Source: RaSP (CoLLAs 2023); recent_methods.md 1.2.
    """
    unit = F.normalize(embeddings, dim=1)
    return torch.exp(-tau * (1 - unit @ unit.T))


def semantic_table(similarity: Tensor) -> Tensor:
    """Return the target (n, O) of each new class at a pixel of each old one, from their similarities (n, O).

    It is the logistic of the similarity to the old class over that to the background, column 0.

    Source: RaSP (CoLLAs 2023); recent_methods.md 1.3.
    """
    return torch.sigmoid(similarity / similarity[:, :1])


def semantic_targets(similarity: Tensor, teacher: Tensor) -> Tensor:
    """Return the soft targets (B, n, h, w) of the new classes where the teacher sees its old ones.

    similarity: of new classes to old ones (n, O).

    Source: RaSP (CoLLAs 2023); recent_methods.md 1.3.
    """
    return semantic_table(similarity)[:, teacher.argmax(dim=1)].transpose(0, 1)


def semantic_loss(localizer: Tensor, targets: Tensor, labels: Tensor) -> Tensor:
    """Return l_SEM: BCE of the localizer's new channels against the targets, where the image has the label.

    The mean is over all maps, of labelled classes or not.

    Source: RaSP (CoLLAs 2023), l_SEM; recent_methods.md 1.3.
    """
    logits = widened(localizer)[:, -labels.shape[1] :]
    values = F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none")
    return (labels.to(values.dtype)[:, :, None, None] * values).mean()


def labelled_classification(
    localizer: Tensor, labels: Tensor, pooling: Pooling = "ngwp", *, count: Count = AT_HAND
) -> Tensor:
    """Return l_CLS as a mean over the images that carry one of the new labels (B, n), 0 if none does.

    Source: RaSP (CoLLAs 2023), the evident intent of its code; recent_methods.md 1.4.
    """
    scores = pooled_scores(localizer, pooling)[:, -labels.shape[1] :]
    values = F.binary_cross_entropy_with_logits(scores, labels.to(scores.dtype), reduction="none").mean(dim=1)
    labelled = (labels > 0).any(dim=1).to(values.dtype)
    return (labelled * values).sum() * count.parts / count.total(labelled.sum()).clamp(min=1)


def agreeing_self_supervision(
    localizer: Tensor, pseudo_mask: Tensor, labels: Tensor, n_new: int, *, count: Count = AT_HAND
) -> Tensor:
    """Return l_SSS summed over images with a new label, divided by how many of them agree with their pseudo-mask.

    Source: RaSP (CoLLAs 2023)'s code; recent_methods.md 1.4.
    """
    values, agrees = self_supervised_values(localizer, pseudo_mask, labels)
    labelled = (labels[:, -n_new:] > 0).any(dim=1).to(values.dtype)
    return (labelled * values).sum() * count.parts / (count.total((labelled * agrees).sum()) + 1e-5)
