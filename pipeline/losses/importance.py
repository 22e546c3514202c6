"""Parameter importance of EWC, PI and RW (ciss_methods.md 4.5-4.7).

Call order of a step: `load_state_dict(previous, resumed=False)` if there is a previous step, `start` with the
untrained model, then per iteration `observe` after the backward pass of the losses and `penalty`. A fresh
object serves each step. A state holds flat `<kind>/<parameter>` tensors, for a resumed step and for the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

Named = Iterable[tuple[str, nn.Parameter]]


def min_max(x: Tensor) -> Tensor:
    """Return (x - min) / (max - min + 1e-8) over the whole tensor.

    Source: MiB (CVPR 2020)'s code; ciss_methods.md 4.5.
    """
    return (x - x.min()) / (x.max() - x.min() + 1e-8)


class Importance:
    """Weights w_k per parameter of the previous model and the penalty sum_k w_k (theta_k - theta_start_k)^2.

    `normalise` scales each tensor of the previous step's importance to [0, 1]; it is on in the reference.

    Source: MiB (CVPR 2020)'s code; ciss_methods.md 4.5-4.7.
    """

    kinds: ClassVar[tuple[str, ...]] = ("start", "weight")

    def __init__(self, normalise: bool = True) -> None:
        self.normalise = normalise
        self.tensors: dict[str, dict[str, Tensor]] = {kind: {} for kind in self.kinds}
        self.calls = 0
        self._live: dict[str, nn.Parameter] = {}

    @torch.no_grad()
    def start(self, named_parameters: Named) -> None:
        """Remember the values from which the step begins: the old model's, and a new head's initial ones."""
        self.tensors["start"] = {name: p.detach().clone() for name, p in _trainable(named_parameters)}

    @torch.no_grad()
    def observe(self, named_parameters: Named) -> None:
        """Update the running statistics from the gradients now present; a missing gradient counts as zero."""
        self._live = dict(_trainable(named_parameters))
        for name, parameter in self._live.items():
            if self._get("start", name, parameter) is None:
                self.tensors["start"][name] = parameter.detach().clone()
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            self._update(name, parameter.detach(), gradient)
        self.calls += 1

    def penalty(self, named_parameters: Named) -> Tensor:
        """Return the scalar penalty, differentiable; 0 without a previous step. Unknown parameters are free."""
        terms = []
        for name, parameter in _trainable(named_parameters):
            weight, start = self._get("weight", name, parameter), self._get("start", name, parameter)
            if weight is not None:
                assert start is not None, f"penalty of {name} before start() or observe()"
                terms.append((weight * (parameter - start).square()).sum())
        return torch.stack(terms).sum() if terms else torch.zeros(())

    def state_dict(self) -> dict[str, Tensor]:
        """Return all statistics as flat tensors, with the score of the step so far."""
        flat = {f"{kind}/{name}": value.clone() for kind in self.kinds for name, value in self.tensors[kind].items()}
        flat |= {f"score/{name}": value for name, value in self.scores().items()}
        return flat | {"calls": torch.tensor(self.calls)}

    def load_state_dict(self, state: Mapping[str, Tensor], resumed: bool = True) -> None:
        """Take back `state_dict()` of this step (`resumed`), or begin a new step after the one it describes."""
        stored: dict[str, dict[str, Tensor]] = {kind: {} for kind in (*self.kinds, "score")}
        for key, value in state.items():
            kind, _, name = key.partition("/")
            if kind in stored and name:
                stored[kind][name] = value.clone()
        if resumed:
            self.tensors, self.calls = {kind: stored[kind] for kind in self.kinds}, int(state["calls"])
        else:
            self._continue(stored)

    def scores(self) -> dict[str, Tensor]:
        """Return the importance a path-based method hands to the next step, per parameter."""
        return {}

    def _update(self, name: str, value: Tensor, gradient: Tensor) -> None:
        raise NotImplementedError

    def _continue(self, stored: Mapping[str, dict[str, Tensor]]) -> None:
        raise NotImplementedError

    def _get(self, kind: str, name: str, like: Tensor) -> Tensor | None:
        # Loaded statistics come on the CPU; each moves once to where its parameter lives.
        value = self.tensors[kind].get(name)
        if value is not None and value.device != like.device:
            value = self.tensors[kind][name] = value.to(like.device)
        return value

    def _scaled(self, x: Tensor) -> Tensor:
        return min_max(x) if self.normalise else x.clone()


class EWC(Importance):
    """Elastic weight consolidation (PNAS 2017) as MiB coded it: F <- decay g^2 + (1 - decay) F, F = 1 at first.

    `decay` weighs the newest gradient. The next step is weighted by the scaled F and continues from the raw one.

    Source: EWC (PNAS 2017); ciss_methods.md 4.5.
    """

    kinds: ClassVar[tuple[str, ...]] = ("start", "weight", "fisher")

    def __init__(self, decay: float = 0.9, normalise: bool = True) -> None:
        super().__init__(normalise)
        self.decay = decay

    def _update(self, name: str, value: Tensor, gradient: Tensor) -> None:
        fisher = self._get("fisher", name, value)
        before = torch.ones_like(value) if fisher is None else fisher
        self.tensors["fisher"][name] = self.decay * gradient.square() + (1 - self.decay) * before

    def _continue(self, stored: Mapping[str, dict[str, Tensor]]) -> None:
        self.tensors["fisher"] = stored["fisher"]
        self.tensors["weight"] = {name: self._scaled(fisher) for name, fisher in stored["fisher"].items()}


class PathIntegral(Importance):
    """Synaptic intelligence (ICML 2017): omega <- omega + g (theta_before - theta), one call apart.

    Score: max(0, omega / ((theta - theta_start)^2 + 1e-20)) plus the previous step's score. omega restarts.

    Source: SI (ICML 2017); ciss_methods.md 4.6.
    """

    kinds: ClassVar[tuple[str, ...]] = ("start", "weight", "omega", "before", "previous")

    def _update(self, name: str, value: Tensor, gradient: Tensor) -> None:
        before, omega = self._get("before", name, value), self._get("omega", name, value)
        omega = torch.zeros_like(value) if omega is None else omega
        if before is not None:
            omega = omega + gradient * (before - value)
        self.tensors["omega"][name], self.tensors["before"][name] = omega, value.clone()

    def scores(self) -> dict[str, Tensor]:
        """Return summed scores at the parameters' present values; previous ones where nothing was observed."""
        scores = dict(self.tensors["previous"])
        for name, parameter in self._live.items():
            moved = (parameter.detach() - self.tensors["start"][name]).square()
            score = (self.tensors["omega"][name] / (moved + 1e-20)).clamp(min=0)
            scores[name] = score + scores[name].to(score) if name in scores else score
        return scores

    def _continue(self, stored: Mapping[str, dict[str, Tensor]]) -> None:
        self.tensors["previous"] = stored["score"]
        self.tensors["weight"] = {name: self._scaled(score) for name, score in stored["score"].items()}


class RiemannianWalk(EWC):
    """Riemannian walk (ECCV 2018): EWC's F plus a path score r, added after scaling each.

    Every `interval` calls, before F's update: r <- r + g (theta_before - theta) / (F (theta - theta_before)^2 / 2 +
    1e-8). Score: max(0, r), averaged with the previous step's. r restarts, F continues.

    Source: RW (ECCV 2018); ciss_methods.md 4.7.
    """

    kinds: ClassVar[tuple[str, ...]] = ("start", "weight", "fisher", "path", "before", "previous")

    def __init__(self, decay: float = 0.9, interval: int = 10, normalise: bool = True) -> None:
        super().__init__(decay, normalise)
        self.interval = interval

    def _update(self, name: str, value: Tensor, gradient: Tensor) -> None:
        if self.calls % self.interval == 0:
            self._walk(name, value, gradient)
        super()._update(name, value, gradient)

    def _walk(self, name: str, value: Tensor, gradient: Tensor) -> None:
        before, path = self._get("before", name, value), self._get("path", name, value)
        path = torch.zeros_like(value) if path is None else path
        if before is not None:
            step = value - before
            distance = 0.5 * self.tensors["fisher"][name] * step.square() + 1e-8
            path = path - gradient * step / distance
        self.tensors["path"][name], self.tensors["before"][name] = path, value.clone()

    def scores(self) -> dict[str, Tensor]:
        """Return max(0, r) averaged with the previous score where there is one."""
        scores = dict(self.tensors["previous"])
        for name, path in self.tensors["path"].items():
            score = path.clamp(min=0)
            scores[name] = 0.5 * (score + scores[name].to(score)) if name in scores else score
        return scores

    def _continue(self, stored: Mapping[str, dict[str, Tensor]]) -> None:
        super()._continue(stored)
        self.tensors["previous"] = stored["score"]
        for name, score in stored["score"].items():
            self.tensors["weight"][name] = self._scaled(stored["fisher"][name]) + self._scaled(score)


def _trainable(named_parameters: Named) -> list[tuple[str, nn.Parameter]]:
    return [(name, p) for name, p in named_parameters if p.requires_grad]
