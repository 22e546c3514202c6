"""The whole batch of an optimizer step, as a loss sees it that has one part of the batch in hand.

A part is a process's share, or a micro-batch of it; all parts have equally many images. A loss that divides by a
count of the batch (labelled pixels, images that take part) divides by `total(count)` and multiplies by `parts()`:
the mean over parts of such losses is the loss of the whole batch, whatever its parts hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from pipeline import distributed


class Counts:
    """What the losses of an optimizer step counted, micro-batch by micro-batch, and then over all of them.

    The n-th call of `total` in one micro-batch belongs with the n-th in every other.
    """

    def __init__(self, micro_batches: int) -> None:
        self.micro_batches = micro_batches
        self.sums: list[Tensor] = []
        self._closed = False
        self._calls = 0

    def begin(self) -> None:
        """A micro-batch begins."""
        self._calls = 0

    def close(self) -> None:
        """Every micro-batch has been counted: from now on `take` answers with sums over all processes."""
        if not self._closed:
            self.sums = [distributed.total(value) for value in self.sums]
        self._closed = True

    def take(self, x: Tensor) -> Tensor:
        """Return the sum of the count over the whole batch; before `close`, over what has been seen of it."""
        index = self._calls
        self._calls += 1
        if not self._closed:
            if index == len(self.sums):
                self.sums.append(x.detach())
            else:
                self.sums[index] = self.sums[index] + x.detach()
        assert index < len(self.sums), "a micro-batch asks for more counts than the first did"
        return self.sums[index]


_counts: Counts | None = None


@contextmanager
def counted(micro_batches: int) -> Iterator[Counts]:
    """Within the block losses see one of so many micro-batches at a time."""
    global _counts
    _counts = Counts(micro_batches)
    try:
        yield _counts
    finally:
        _counts = None


def parts() -> int:
    """Return in how many equal parts the batch is dealt out: processes times micro-batches."""
    return distributed.size() * (1 if _counts is None else _counts.micro_batches)


def total(x: Tensor) -> Tensor:
    """Return the sum of a count over all parts of the batch, without gradient; if there is one part, `x` itself."""
    return distributed.total(x) if _counts is None else _counts.take(x)
