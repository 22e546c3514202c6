"""Gradients of a batch that does not fit at once: the sum over its micro-batches (`train.gradient_accumulation`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from pipeline.distributed.whole_batch import WholeBatch
from pipeline.train import resume

Part = TypeVar("Part")
Terms = dict[str, Tensor]
Losses = Callable[[Part, WholeBatch], Terms]


def add_gradients(parts: Sequence[Part], losses: Losses[Part], modules: Sequence[nn.Module]) -> Terms:
    """Add the gradients of the mean over parts of the summed terms; return that mean of every term, detached.

    `losses` returns the named scalars of a part; what it divides by a count of the batch, it counts in the WholeBatch
    given to it. If it does, all parts pass once before, so that the count is known; `modules` (norm statistics) and
    random numbers are then as if they had not. One part's graph is alive at a time. One part is trained as if there
    were no parts, bit for bit.
    """
    if len(parts) == 1:
        return _backward(_terms(parts[0], losses, WholeBatch()), 1)
    before, whole = _State(modules), WholeBatch(len(parts))
    terms = _terms(parts[0], losses, whole)
    if whole.names:
        del terms  # its graph would be a second one in memory
        with torch.no_grad():
            for part in parts[1:]:
                _terms(part, losses, whole)
        before.restore()
        whole.complete()
        terms = _terms(parts[0], losses, whole)
    found = [_backward(terms, len(parts))]
    for part in parts[1:]:
        found.append(_backward(_terms(part, losses, whole), len(parts)))
    return {name: torch.stack([one[name] for one in found]).mean() for name in found[0]}


def _terms(part: Part, losses: Losses[Part], whole: WholeBatch) -> Terms:
    with whole.micro_batch():
        return losses(part, whole)


def _backward(terms: Terms, parts: int) -> Terms:
    (torch.stack([term.float() for term in terms.values()]).sum() / parts).backward()
    return {name: term.detach() for name, term in terms.items()}


class _State:
    """What a forward pass changes: buffers and random numbers."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        buffers = [buffer for module in modules for buffer in module.buffers()]
        self._buffers = [(buffer, buffer.clone()) for buffer in buffers]
        self._random = resume.random_state()

    @torch.no_grad()
    def restore(self) -> None:
        for buffer, value in self._buffers:
            buffer.copy_(value)
        resume.restore_random(self._random)
