"""A trained network of any origin behind one face: images in, logits, masks and probabilities out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as v2

from pipeline.datasets.imagenet import MEAN, STD

Kind = Literal["step", "transformers", "torchvision"]
BACKGROUNDS = ("background", "__background__", "_background_")


def softmax(logits: Tensor) -> Tensor:
    """Return probabilities (B, N, H, W) that sum to 1 at every pixel."""
    return logits.softmax(dim=1)


def argmax(logits: Tensor) -> Tensor:
    """Return the best channel (B, H, W)."""
    return logits.argmax(dim=1)


class Network(nn.Module):
    """RGB images (B, 3, H, W) of 0..255 to logits (B, N, h, w) at the network's own resolution.

    Normalisation is inside. `resize` brings whole images to the size that the network expects; None leaves them.
    `decide` maps logits at the image's size to class ids (B, H, W), `probabilities` to (B, C, H, W).
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        body: nn.Module,
        read_logits: Callable[[Any], Tensor],
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
        scale: float = 1 / 255,
        resize: Callable[[Tensor], Tensor] | None = None,
        decide: Callable[[Tensor], Tensor] = argmax,
        probabilities: Callable[[Tensor], Tensor] = softmax,
    ) -> None:
        super().__init__()
        self.body, self.read_logits, self.per_unit = body, read_logits, 1 / scale
        self.resize, self.decide, self.probabilities = resize, decide, probabilities
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, N, h, w), float32, of images (B, 3, H, W) of 0..255."""
        normalised = (images.float() / self.per_unit - self.mean) / self.std
        return self.read_logits(self.body(normalised)).float()


def shorter_side(side: int) -> Callable[[Tensor], Tensor]:
    """Return a function that resizes images (B, 3, H, W), uint8, to a shorter side of `side`, bilinear."""

    def resize(images: Tensor) -> Tensor:
        resized: Tensor = v2.resize(images, [side], interpolation=InterpolationMode.BILINEAR, antialias=True)
        return resized

    return resize


@dataclass(frozen=True)
class Model:
    """A network, the names of its classes in the order of its masks' values, and what is known about it."""

    network: Network
    class_names: tuple[str, ...]
    kind: Kind
    path: Path
    """The file or folder it was read from."""
    architecture: str
    class_ids: tuple[int, ...] = ()
    """The training data set's ids of the classes, where the model says them."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the model's own files record: task, step, method, seed ..."""
    notes: tuple[str, ...] = ()
    """What was assumed because the files do not say it."""

    @property
    def background(self) -> int | None:
        """The mask value that means none of the named classes, if there is one."""
        return 0 if self.class_names[0].lower() in BACKGROUNDS else None
