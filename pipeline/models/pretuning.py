"""NeST's classifier before a step (ECCV 2024): each new class a learned combination of the old ones.

recent_methods.md 3.2 to 3.4. O old outputs, n new classes, D channels of the head's output.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline import distributed
from pipeline.runtime.precision import widened


class Selection:
    """Counts, over the pixels of each new class, which old classifier saw them through which channel (3.2)."""

    def __init__(self, weight: Tensor, bias: Tensor, n_new: int, size: int, logits: Literal["full", "product"]) -> None:
        self.weight, self.bias, self.size, self.kind = weight, bias, size, logits
        n_old, channels = weight.shape
        self._above, self._below = (weight.new_zeros(n_new, n_old, channels) for _ in range(2))
        self._pixels = weight.new_zeros(n_new)

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor) -> None:
        """See a batch: the teacher's head output (B, D, h, w), labels (B, H, W) in channel ids."""
        n_old, size = len(self.weight), (self.size, self.size)
        features = widened(features)
        f = _resized(features, size)
        if self.kind == "product":
            scores = torch.einsum("od,bdhw->bohw", self.weight, f)
        else:
            logits = torch.einsum("od,bdhw->bohw", self.weight, features) + self.bias[None, :, None, None]
            scores = _resized(_resized(logits, tuple(labels.shape[-2:])), size)
        q = scores.softmax(dim=1)
        small = F.interpolate(labels[:, None].float(), size=size, mode="nearest")[:, 0].long()
        for index in range(len(self._pixels)):
            chosen = small == n_old + index
            self._pixels[index] += chosen.sum()
            rows, seen = (x.movedim(1, -1)[chosen] for x in (q, f))
            self._above[index] += rows.T @ (seen > 0).to(rows.dtype)
            self._below[index] += rows.T @ (seen < 0).to(rows.dtype)

    def result(self) -> tuple[Tensor, Tensor]:
        """Return importance M (n, O, D) and projection P (n, O); a class without a pixel has ones and uniform."""
        above, below, pixels = (distributed.total(x) for x in (self._above, self._below, self._pixels))
        zero = torch.zeros_like(above)
        agreeing = torch.where(self.weight > 0, above, torch.where(self.weight < 0, below, zero))
        seen = (pixels > 0)[:, None, None]
        importance = torch.where(seen, agreeing / pixels.clamp(min=1)[:, None, None], torch.ones_like(above))
        return importance, importance.sum(dim=2).softmax(dim=1)


class CombinedClassifier(nn.Module):
    """New classifiers made of the old ones, and a background that is tuned with them (3.3)."""

    def __init__(self, weight: Tensor, bias: Tensor, importance: Tensor, projection: Tensor, new_bias: Tensor) -> None:
        super().__init__()
        self.weight, self.old_bias = weight.detach().clone(), bias.detach().clone()
        self.importance = nn.Parameter(importance.clone())
        self.projection = nn.Parameter(projection.clone())
        self.bias = nn.Parameter(new_bias.detach().clone())
        self.background = nn.Parameter(torch.ones_like(weight[:1]))
        self.background_scale = nn.Parameter(weight.new_ones(1, 1))

    def new_weight(self) -> Tensor:
        """Return the weights (n, D) of the new classes."""
        return torch.einsum("no,nod,od->nd", self.projection, self.importance, self.weight)

    def background_weight(self) -> Tensor:
        """Return the weight (1, D) of the background."""
        return self.background_scale * (self.background * self.weight[:1])

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B, O + n, h, w) of head outputs (B, D, h, w)."""
        weight = torch.cat([self.background_weight(), self.weight[1:], self.new_weight()])
        bias = torch.cat([self.old_bias, self.bias])
        return F.conv2d(widened(features), weight[:, :, None, None], bias)


@torch.no_grad()
def install(combined: CombinedClassifier, classifiers: nn.ModuleList) -> None:
    """Write the combination into a network's classifiers, its lengths aligned with the old ones (3.4).

    The background keeps its length and bias, the new biases the Euclidean norm of the old ones, the new weights
    their mean row norm. The background is row 0 of the first classifier.
    """
    first, newest = classifiers[0], classifiers[-1]
    assert isinstance(first, nn.Conv2d) and isinstance(newest, nn.Conv2d)
    assert newest.bias is not None
    weight, direction = combined.weight.clone(), combined.background_weight()[0]
    weight[0] = direction * (weight[0].norm() / direction.norm())
    new, bias = combined.new_weight(), combined.bias
    length = new.norm(dim=1).mean()
    first.weight[0] = weight[0][:, None, None]
    newest.weight.copy_((new * (weight.norm(dim=1).mean() / length))[:, :, None, None])
    newest.bias.copy_(bias * (combined.old_bias.norm() / bias.norm()))


def _resized(x: Tensor, size: tuple[int, ...]) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
