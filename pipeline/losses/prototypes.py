"""STAR (NeurIPS 2023): prototypes of classes, features drawn from them, and its losses (recent_methods.md 4).

Shapes: head features (B, D, h, w); labels and predictions (B, H, W) in channel ids, 255 unlabelled; prototypes (C, D),
unit rows of the C known foreground classes, class c in row c - 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline import distributed
from pipeline.distributed.whole_batch import AT_HAND, Count
from pipeline.runtime.precision import widened

IGNORE_INDEX = 255
Normal = Callable[[tuple[int, ...]], Tensor]


def old_prediction(logits: Tensor, threshold: float = 0.5) -> Tensor:
    """Return the class id (B, H, W) of the largest logit (B, C, H, W), 0 where none exceeds `threshold`.

    Source: STAR (NeurIPS 2023)'s code, which compares the logit; recent_methods.md 4.2.
    """
    score, chosen = logits.max(dim=1)
    return torch.where(score > threshold, chosen + 1, torch.zeros_like(chosen))


def at_grid(labels: Tensor, size: tuple[int, int], every: int = 1) -> Tensor:
    """Return labels (B, H, W) at the centres of every `every`-th of h x w positions, [s/2 :: s] for a stride s.

    Source: STAR (NeurIPS 2023)'s code; recent_methods.md 4.3.
    """
    rows, columns = (
        ((torch.arange(every // 2, n, every, device=labels.device) + 0.5) * (whole / n)).long()
        for n, whole in zip(size, labels.shape[-2:], strict=True)
    )
    return labels[:, rows][:, :, columns]


class ClassStatistics(NamedTuple):
    """Of n classes: pixels (n,), prototypes (n, D), mean and std of the features' norms (2, n), noise (n, D).

    Source: STAR (NeurIPS 2023)'s code; recent_methods.md 4.4.
    """

    numbers: Tensor
    prototypes: Tensor
    norms: Tensor
    noise: Tensor


class PrototypeCounter:
    """Collects the statistics of classes over batches; over processes too.

    Source: STAR (NeurIPS 2023)'s code, with the sum over processes that it lacks; recent_methods.md 4.4.
    """

    def __init__(self, classes: range, channels: int) -> None:
        self.classes, self.background = classes, torch.zeros((), dtype=torch.float64)
        shape = (len(classes), channels)
        self._numbers, self._length, self._square = (torch.zeros(len(classes), dtype=torch.float64) for _ in range(3))
        self._sum, self._squares = (torch.zeros(shape, dtype=torch.float64) for _ in range(2))

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor) -> None:
        """Count features (B, D, h, w) with labels (B, h, w)."""
        rows = features.movedim(1, -1)
        self.background += (labels == 0).sum().cpu()
        for index, label in enumerate(self.classes):
            found = rows[labels == label].double().cpu()
            unit, length = F.normalize(found, dim=1), found.norm(dim=1)
            self._numbers[index] += len(found)
            self._length[index] += length.sum()
            self._square[index] += length.square().sum()
            self._sum[index] += unit.sum(dim=0)
            self._squares[index] += unit.square().sum(dim=0)

    def result(self) -> tuple[Tensor, ClassStatistics]:
        """Return the background's pixels, and float64 statistics; a class without a pixel has zeros."""
        own = [self.background[None], self._numbers, self._length, self._square]
        flat = distributed.total(torch.cat([*own, self._sum.flatten(), self._squares.flatten()]))
        n, shape = len(self.classes), self._sum.shape
        background, numbers, length, square, rest = flat.split([1, n, n, n, flat.numel() - 3 * n - 1])
        total, squares = (part.view(shape) for part in rest.chunk(2))
        count = numbers.clamp(min=1)
        mean = length / count
        std = ((square - count * mean.square()) / (count - 1).clamp(min=1)).clamp(min=0).sqrt()
        prototypes = F.normalize(total, dim=1)
        spread = (squares - 2 * prototypes * total) / count[:, None] + prototypes.square()
        noise = torch.where(numbers[:, None] > 0, spread.clamp(min=0).sqrt(), torch.zeros_like(spread))
        norms = torch.stack([mean, std * (numbers > 1)])
        return background[0], ClassStatistics(numbers, prototypes, norms, noise)


class ReplayPlan(NamedTuple):
    """Missing pixels of every old class per epoch (C,), weight g of the background, numbers (1 + C,) after the step.

    Source: STAR (NeurIPS 2023)'s code; recent_methods.md 4.4.
    """

    missing: Tensor
    gain: float
    numbers: Tensor


def replay_plan(
    numbers: Tensor, predicted: Tensor, n_new: int, disjoint: bool, shared: float = 0.5, future: float = 0.01
) -> ReplayPlan:
    """Return what a step replays, from the pixels counted so far and those that the teacher sees (both 1 + C).

    `shared` and `future` are hand-set shares of the background, for overlapping steps alone. Without a pixel that the
    teacher calls background, g is 0.

    Source: STAR (NeurIPS 2023)'s code; recent_methods.md 4.4.
    """
    background = float(numbers[0]) * (1.0 if disjoint else 1 - future * n_new)
    seen = float(predicted[0])
    gain = background / seen if seen else 0.0
    if disjoint:
        old = numbers[1:] + predicted[1:]
        after = torch.cat([numbers.new_tensor([seen + background]), old])
        return ReplayPlan(numbers[1:], gain, after)
    after = torch.cat([numbers.new_tensor([shared * seen + background]), numbers[1:]])
    return ReplayPlan((numbers[1:] - predicted[1:]).clamp(min=0), max(0.0, gain - shared), after)


def replayed_features(
    statistics: ClassStatistics,
    counts: list[int],
    normal: Normal,
    norm_noise: Literal["channel", "feature"] = "channel",
) -> Iterator[Tensor]:
    """Yield, class by class, features (1, D, R_c, 1) = (p + eps noise)(std eta + mean) with eps, eta from `normal`.

    Source: STAR (NeurIPS 2023)'s code; recent_methods.md 4.3.
    """
    _, prototypes, norms, noise = statistics
    for index, count in enumerate(counts):
        shape = (1, prototypes.shape[1], count, 1)
        eps = normal(shape)
        eta = normal(shape if norm_noise == "channel" else (1, 1, count, 1))
        centre, spread = (x[index][None, :, None, None] for x in (prototypes, noise))
        yield (centre + eps * spread) * (norms[1, index] * eta + norms[0, index])


def own_classes_bce(
    logits: Tensor,
    labels: Tensor,
    first: int,
    pos_weight: float = 4.0,
    *,
    void: Literal["background", "ignore"] = "background",
    count: Count = AT_HAND,
) -> Tensor:
    """Return l_ori (n,): BCE of each of n outputs (B, n, H, W), output k standing for class `first` + k.

    Void pixels are negatives of every class, or left out with `void` ignore.

    Source: STAR (NeurIPS 2023)'s code; recent_methods.md 4.3.
    """
    logits, weight = widened(logits), widened(logits).new_tensor(pos_weight)
    reduced = []
    for index in range(logits.shape[1]):
        target = (labels == first + index).to(logits.dtype)
        values = F.binary_cross_entropy_with_logits(logits[:, index], target, reduction="none", pos_weight=weight)
        reduced.append(values)
    values = torch.stack(reduced, dim=1)
    if void == "background":
        return values.mean(dim=(0, 2, 3))
    known = labels != IGNORE_INDEX
    total = count.total(known.sum()).clamp(min=1)
    return (values * known[:, None]).sum(dim=(0, 2, 3)) * count.parts / total


def balanced_bce(
    own: Tensor, replayed: Tensor, background: Tensor, replay_share: float, background_share: Tensor | float
) -> Tensor:
    """Return l_mbce per class (n,), whose sum is the loss: the mean of three parts, weighted as 1, r and a.

    Source: STAR (NeurIPS 2023); recent_methods.md 4.3.
    """
    total = own + replay_share * replayed + background_share * background
    return total / (1 + background_share + replay_share)


def old_feature_distillation(features: Tensor, teacher: Tensor, region: Tensor, *, count: Count = AT_HAND) -> Tensor:
    """Return l_pkd: squared distance to the teacher's features in a region (B, H, W), 0 if it is empty.

    Source: STAR (NeurIPS 2023), old-class features maintaining; recent_methods.md 4.3.
    """
    mask = _resized(region[:, None].to(features.dtype), features)
    weighted = (mask * (widened(features) - widened(teacher)).square()).sum() / features.shape[1]
    total = count.total(mask.sum())
    return weighted * count.parts / torch.where(total > 0, total, torch.ones_like(total))


def centre_distance(features: Tensor, labels: Tensor, classes: range, prototypes: Tensor) -> Tensor:
    """Return l_cont: mean over new classes of 1 / distance of their centre to the nearest old prototype.

    A class that the batch lacks has the centre 0, at distance 1 from every prototype.

    Source: STAR (NeurIPS 2023), similarity-aware discriminative loss; recent_methods.md 4.3.
    """
    unit = F.normalize(widened(features), dim=1)
    # Class by class and without a matrix product, which autocast would round.
    masks = (_resized((labels == label)[:, None].to(unit.dtype), unit) for label in classes)
    centres = F.normalize(torch.stack([(mask * unit).sum(dim=(0, 2, 3)) for mask in masks]), dim=1)
    distances = (centres[:, None] - prototypes.to(centres)[None]).norm(dim=2)
    return (1 / distances.min(dim=1).values.clamp(min=1e-6)).mean()


def _resized(maps: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(maps, size=like.shape[-2:], mode="bilinear", align_corners=False)
