"""The tiny network of assembled_methods.md section 7, and one training step of it through the real engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.config import parse_config
from pipeline.methods import Batch, Forward, Method
from pipeline.models import SegmentationModel
from pipeline.models.network import Features
from pipeline.train.engine import Step, train_step
from tests.golden.inputs import S


class Body(nn.Module):
    """Two strided convolutions with norms, whose outputs are the stage maps."""

    channels, stride = 5, 4

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 5, 3, stride=2, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(5)
        self.act = nn.LeakyReLU(0.01)

    def forward(self, images: Tensor) -> Features:
        first = self.norm1(self.conv1(images))
        second = self.norm2(self.conv2(self.act(first)))
        return Features(self.act(second), (first, second), ())


class SsulBody(nn.Module):
    """One convolution, as W-ssul-1 has it."""

    channels, stride = 5, 4

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 5, stride=4, padding=2, bias=False)

    def forward(self, images: Tensor) -> Features:
        return Features(self.conv(images).relu(), (), ())


class Head(nn.Sequential):
    """A 3x3 convolution, a norm and an activation."""

    channels = 4

    def __init__(self, act: nn.Module) -> None:
        super().__init__(nn.Conv2d(5, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), act)


def tiny_model(outputs: Sequence[int], shift: float = 0.0, kind: str = "linear", ssul: bool = False) -> Any:
    """Return the network with its weights filled; `shift` is the specification's delta."""
    body, act = (SsulBody(), nn.ReLU()) if ssul else (Body(), nn.LeakyReLU(0.01))
    model = SegmentationModel(body, Head(act), outputs, "tiny", kind)
    fill(model, 0, shift)
    return model


@torch.no_grad()
def fill(module: nn.Module, first: int, shift: float = 0.0) -> None:
    """Give convolutions their sines, counted over all parameter tensors from `first`; norms stay at 1 and 0."""
    i = first
    for part in module.modules():
        for p in part.parameters(recurse=False):
            if isinstance(part, nn.Conv2d):
                p.copy_((0.5 if p.dim() == 4 else 0.2) * S(tuple(p.shape), 0.7, i + shift))
            i += 1


@dataclass
class Batches:
    """Stands for BatchSource: the same few batches, one pass after the other."""

    found: list[Batch]

    @property
    def batches_per_epoch(self) -> int:
        return len(self.found)

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """Yield the batches of iterations start..stop-1."""
        yield from (self.found[i % len(self.found)] for i in range(start, stop))

    def calibration(self, ids: bool = False) -> Iterator[Batch]:
        """Yield one pass."""
        return self.batches(0, len(self.found))


class SpiedSGD(torch.optim.SGD):
    """The optimiser itself, remembered with the rate of every group at every step."""

    latest: SpiedSGD

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.rates: list[list[float]] = []
        SpiedSGD.latest = self

    def step(self, *arguments: Any, **options: Any) -> Any:
        """Step, and remember at which rates."""
        self.rates.append([group["lr"] for group in self.param_groups])
        return super().step(*arguments, **options)


@dataclass
class Seen:
    """What a run of the engine called and returned."""

    terms: list[dict[str, float]] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    optimizer: Any = None
    extra: nn.Module | None = None


@dataclass
class Run:
    """One step of a method on the tiny network."""

    method: Method
    model: SegmentationModel
    teacher: SegmentationModel | None
    source: Any
    folder: Path
    epochs: int = 3
    iterations: int = 3
    lr: float = 0.05
    weight_decay: float = 0.01
    extra_first: int = 20
    train: dict[str, Any] = field(default_factory=dict)

    def go(self, monkeypatch: pytest.MonkeyPatch) -> Seen:
        """Train through the engine and return what was seen; gradients stay on the parameters."""
        seen = Seen()
        with monkeypatch.context() as patch:
            patch.setattr(torch.optim, "SGD", SpiedSGD)
            self._spy(seen, patch)
            train_step(self.step())
        seen.optimizer = SpiedSGD.latest
        return seen

    def step(self) -> Step:
        """Return what the engine trains."""
        phase = {"epochs": self.epochs, "batch_size": 2, "lr": self.lr, "iterations": self.iterations}
        values = {"threads": 1, "precision": "float32", "tensorboard": False, "weight_decay": self.weight_decay}
        config = parse_config({"train": {**values, "step": phase, **self.train}})
        parts = (self.method, self.model, self.teacher, self.source, config.train, config.train.step)
        return Step(*parts, self.folder, {"step": 1}, "fingerprint")

    def _spy(self, seen: Seen, patch: pytest.MonkeyPatch) -> None:
        losses, penalty, attach = self.method.losses, self.method.penalty, self.method.attach

        def spied_losses(forward: Forward) -> dict[str, Tensor]:
            terms = losses(forward)
            seen.epochs.append(forward.epoch)
            seen.terms.append({name: float(term.detach()) for name, term in terms.items()})
            return terms

        def spied_penalty(named: Any) -> Tensor | None:
            found = penalty(named)
            if found is not None:
                seen.terms[-1]["penalty"] = float(found.detach())
            return found

        def spied_attach(model: SegmentationModel) -> nn.Module | None:
            seen.extra = attach(model)
            if seen.extra is not None:
                fill(seen.extra, self.extra_first)
            return seen.extra

        for name, spied in (("losses", spied_losses), ("penalty", spied_penalty), ("attach", spied_attach)):
            patch.setattr(self.method, name, spied)
