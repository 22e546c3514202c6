"""Gradients of a batch that does not fit at once: the sum over its micro-batches (`train.gradient_accumulation`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from pipeline.distributed.whole_batch import Counts, counted
from pipeline.train import resume

Part = TypeVar("Part")
Terms = dict[str, Tensor]


def add_gradients(parts: Sequence[Part], losses: Callable[[Part], Terms], modules: Sequence[nn.Module]) -> Terms:
    """Add the gradients of the mean over parts of the summed terms; return that mean of every term, detached.

    `losses` returns the named scalars of a part; one part's graph is alive at a time. If a loss divides by a count of
    the whole batch, all parts pass once before, so that the count is known; `modules` (norm statistics) and random
    numbers are then as if they had not. One part is trained as if there were no parts, bit for bit.
    """
    if len(parts) == 1:
        return _backward(losses(parts[0]), 1)
    before = _State(modules)
    with counted(len(parts)) as counts:
        terms = losses(parts[0])
        if counts.sums:
            del terms  # its graph would be a second one in memory
            _count(parts[1:], losses, counts)
            before.restore()
            counts.begin()
            terms = losses(parts[0])
        counts.close()
        found = [_backward(terms, len(parts))]
        for part in parts[1:]:
            counts.begin()
            found.append(_backward(losses(part), len(parts)))
    return {name: torch.stack([one[name] for one in found]).mean() for name in found[0]}


@torch.no_grad()
def _count(parts: Sequence[Part], losses: Callable[[Part], Terms], counts: Counts) -> None:
    for part in parts:
        counts.begin()
        losses(part)
    counts.close()


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
