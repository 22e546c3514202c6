"""Sampling that alternates new-class and replay images (web_wilss.md 5.5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Literal

import numpy as np

from pipeline.datasets.turns import in_turns


class InterleaveSampler:
    """Indices of two sets in turn: W of the first, W of the second (shifted by n_first), and so on.

    Each set is read by its own permutation, drawn again when exhausted. The list ends after one pass of
    the larger set (`length="larger"`, the reference) or of the first (`"first"`), is padded by its beginning
    and dealt to W = world_size processes, so that every process strictly alternates. Order depends on
    (seed, epoch) alone; `len` is the number of indices yielded.
    """

    def __init__(
        self,
        n_first: int,
        n_second: int,
        world_size: int = 1,
        rank: int = 0,
        shuffle: bool = True,
        seed: int = 0,
        length: Literal["larger", "first"] = "larger",
    ) -> None:
        if min(n_first, n_second) < 1:
            raise ValueError(f"both sets need images, got {n_first} and {n_second}")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must be in 0..{world_size - 1}, got {rank}")
        self.sizes, self.world_size, self.rank = (n_first, n_second), world_size, rank
        self.shuffle, self.seed, self.epoch = shuffle, seed, 0
        driving = max(n_first, n_second) if length == "larger" else n_first
        self.rounds = -(-driving // world_size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; every process must choose the same."""
        self.epoch = epoch

    def __len__(self) -> int:
        return 4 * -(-self.rounds // 2)

    def global_order(self) -> list[int]:
        """Return the unpadded list of all processes, 2 * world_size * rounds indices."""
        streams = [self._stream(which) for which in (0, 1)]
        turns = ([next(stream) for _ in range(self.world_size)] for _ in range(self.rounds) for stream in streams)
        return list(chain.from_iterable(turns))

    def __iter__(self) -> Iterator[int]:
        order = self.global_order()
        total = len(self) * self.world_size
        while len(order) < total:
            order += order[: total - len(order)]
        return iter(order[self.rank :: self.world_size])

    def _stream(self, which: int) -> Iterator[int]:
        size, shift = self.sizes[which], which * self.sizes[0]
        rng = np.random.default_rng((self.seed, self.epoch, which))
        while True:
            chosen = rng.permutation(size) if self.shuffle else np.arange(size)
            yield from (int(index) + shift for index in chosen)


def overwritten(n_first: int, n_second: int, batch_size: int, seed: tuple[int, ...]) -> list[int]:
    """Return the indices of one pass over the first set, each full batch half overwritten by the second's.

    Of every batch a random `batch_size // 2` places take the image at the same place of a batch of the second set
    (shifted by n_first), which is read by permutations. As without a second set, the last images that fill no batch
    are left out. Order depends on `seed` alone.

    Source: SSUL (NeurIPS 2021), SSUL-M; ciss_methods.md 2.7.
    """
    rng = np.random.default_rng(seed)
    batches = rng.permutation(n_first)[: n_first // batch_size * batch_size].reshape(-1, batch_size)
    reading = np.random.default_rng((*seed, 1))
    passes = -(-batches.size // n_second)
    second = np.concatenate([reading.permutation(n_second) for _ in range(passes)])
    second = n_first + second[: batches.size].reshape(batches.shape)
    for step, exemplars in zip(batches, second, strict=True):
        places = reading.permutation(batch_size)[: batch_size // 2]
        step[places] = exemplars[places]
    return [int(index) for index in batches.ravel()]


def share(batch: Sequence[int], n_first: int, world_size: int, rank: int) -> list[int]:
    """Return a process's share of a batch of one process: new-class and replay images in turn.

    Indices from `n_first` on are replay. The shares of all processes are together that batch, so that their number
    changes no result; where it divides both halves of the batch, a share is what InterleaveSampler deals.
    """
    if world_size == 1:
        return list(batch)
    parted = sorted(batch, key=lambda index: index >= n_first)
    mine = parted[rank::world_size]
    new, replay = [i for i in mine if i < n_first], [i for i in mine if i >= n_first]
    return in_turns([new, replay])
