"""The whole batch of an optimizer step, as a loss sees it that has one part of the batch in hand.

A part is a process's share, or a micro-batch of it; all parts have equally many images. A loss that divides by a
count of the batch (labelled pixels, images that take part) divides by `count.total(x)` and multiplies by
`count.parts`: the mean over parts of such losses is the loss of the whole batch, whatever its parts hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor

from pipeline import distributed


class WholeBatch:
    """The counts of one optimizer step, each under its name, over all processes and their micro-batches.

    Every micro-batch must ask for the same names, each once. Of several micro-batches the counts are sums over what
    was seen so far, until `complete` says that all of them have been counted.
    """

    def __init__(self, micro_batches: int = 1) -> None:
        self.micro_batches = micro_batches
        self.names: frozenset[str] | None = None
        """Counts that the first micro-batch asked for."""
        self._sums: dict[str, Tensor] = {}
        self._asked: set[str] = set()
        self._complete = False

    @property
    def parts(self) -> int:
        """In how many equal parts the batch is dealt out: processes times micro-batches."""
        return distributed.size() * self.micro_batches

    def count(self, name: str) -> Count:
        """Return the count of that name, for one loss."""
        return Count(name, self)

    @contextmanager
    def micro_batch(self) -> Iterator[None]:
        """Within the block losses see one micro-batch; it must have asked for the counts of the first."""
        self._asked = set()
        yield
        if self.names is None:
            self.names = frozenset(self._asked)
        differing = ", ".join(sorted(self.names ^ self._asked))
        assert not differing, f"counts asked for in one micro-batch and not in another: {differing}"

    def complete(self) -> None:
        """Every micro-batch has been counted: from now on counts are sums over all processes."""
        assert not self._complete, "the counts of a batch are completed once"
        # In the order of names, which is that of every process.
        self._sums = {name: distributed.total(self._sums[name]) for name in sorted(self._sums)}
        self._complete = True

    def total(self, name: str, x: Tensor) -> Tensor:
        """Return the sum of a count over all parts, without gradient; if there is one part, `x` itself."""
        assert name not in self._asked, f"count `{name}` asked for twice in one micro-batch; two losses need two names"
        self._asked.add(name)
        if self.micro_batches == 1:
            return distributed.total(x)
        if not self._complete:
            self._sums[name] = self._sums[name] + x.detach() if name in self._sums else x.detach()
        assert name in self._sums, f"count `{name}` asked for in one micro-batch and not in another"
        return self._sums[name]


@dataclass(frozen=True)
class Count:
    """A named count of a batch; the default of losses, without a batch, takes what is at hand for the whole."""

    name: str = ""
    batch: WholeBatch | None = None

    @property
    def parts(self) -> int:
        """In how many equal parts the batch is dealt out."""
        return 1 if self.batch is None else self.batch.parts

    def total(self, x: Tensor) -> Tensor:
        """Return the sum of `x` over all parts of the batch, without gradient; if there is one part, `x` itself."""
        return x if self.batch is None else self.batch.total(self.name, x)


AT_HAND = Count()
