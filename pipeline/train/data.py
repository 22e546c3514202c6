"""Batches of a step: data set, sampler and loader, addressed by iteration so that a resume is exact."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import DataLoader

from pipeline import distributed
from pipeline.artifacts.rows import TrainRow
from pipeline.config import Datasets
from pipeline.datasets.protocol_file import Protocol
from pipeline.datasets.samples import TrainListDataset
from pipeline.datasets.tasks import Rule
from pipeline.methods import Batch, Method
from pipeline.train.sampler import InterleaveSampler, overwritten, share

SECOND = ("replay", "memory")
"""Roles that fill every second place of a batch, so that half of it is old however few they are."""


@dataclass(frozen=True)
class Loading:
    """How batches are read: images of an optimizer step, micro-batches per process, worker processes, maps, epoch."""

    batch_size: int
    accumulate: int = 1
    workers: int = 0
    saliency: Path | None = None
    epoch: Literal["first", "larger"] = "first"
    """What an epoch with replay images or exemplars is one pass of: the step's images, or the larger of both sets."""


class BatchSource:
    """Gives the batch of every iteration. Replay images and exemplars, if any, alternate with the step's images, or
    are written over half of each batch (`Method.exemplar_mixing`).

    With several processes `batch_size` is that of all together; each gets its share of the very batch that one
    process would see, in the order of its `accumulate` micro-batches. Raises ValueError if there are too few images
    for one batch, or it does not divide.
    """

    def __init__(
        self,
        rows: Sequence[TrainRow],
        protocol: Protocol,
        datasets: Datasets,
        method: Method,
        loading: Loading,
    ) -> None:
        first = [row for row in rows if row["role"] not in SECOND]
        replay = [row for row in rows if row["role"] in SECOND]
        self.batch_size, self.workers, self.seed = loading.batch_size, loading.workers, method.info.seed
        if len(first) < self.batch_size:
            raise ValueError(
                f"the training list has {len(first)} images of this step, a batch needs {self.batch_size}; "
                "lower batch_size or raise the selection budget"
            )
        self.accumulate = accumulate = loading.accumulate
        if self.batch_size % (distributed.size() * accumulate):
            raise ValueError(
                f"batch_size {self.batch_size} does not divide among {distributed.size()} processes"
                f"{f' with {accumulate} micro-batches each' if accumulate > 1 else ''}; "
                "it is the batch of an optimizer step, change it, train.world_size or train.gradient_accumulation"
            )
        self.dataset = TrainListDataset(
            [*first, *replay],
            protocol,
            datasets,
            rule=label_rule(datasets, method),
            seed=self.seed,
            all_labels=method.all_labels,
            saliency=loading.saliency,
        )
        self._sizes = (len(first), len(replay))
        self._overwrites = method.exemplar_mixing(method.settings) == "overwrite"
        self._epoch_of = loading.epoch
        self.batches_per_epoch = len(self._order(0)) // self.batch_size

    def _order(self, epoch: int) -> list[int]:
        n_first, n_replay = self._sizes
        if n_replay and self._overwrites:
            return overwritten(n_first, n_replay, self.batch_size, (self.seed, epoch))
        if n_replay:
            sampler = InterleaveSampler(n_first, n_replay, seed=self.seed, length=self._epoch_of)
            sampler.set_epoch(epoch)
            return list(sampler)
        return np.random.default_rng((self.seed, epoch)).permutation(n_first).tolist()

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """Yield the batches of iterations start..stop-1; iteration i is the same batch in every run."""
        iteration = start
        while iteration < stop:
            epoch, offset = divmod(iteration, self.batches_per_epoch)
            last = min(self.batches_per_epoch, offset + stop - iteration)
            self.dataset.set_epoch(epoch)
            order = self._order(epoch)
            chosen = [order[b * self.batch_size : (b + 1) * self.batch_size] for b in range(offset, last)]
            yield from self._load([self._share(batch) for batch in chosen], continued=offset > 0)
            iteration += len(chosen)

    def calibration(self, ids: bool = False) -> Iterator[Batch]:
        """Yield one pass over the training data in micro-batches, as calibration of entropy thresholds sees it.

        With `ids` the masks hold the data set's class ids, not the step's labels.
        """
        self.dataset.show_ids = ids
        try:
            for batch in self.batches(0, self.batches_per_epoch):
                yield from batch.split(self.accumulate)
        finally:
            self.dataset.show_ids = False

    def _share(self, batch: list[int]) -> list[int]:
        n_first, n = self._sizes[0], self.accumulate
        mine = share(batch, n_first, distributed.size(), distributed.rank())
        return [index for part in range(n) for index in share(mine, n_first, n, part)]

    def _load(self, chosen: list[list[int]], continued: bool) -> Iterator[Batch]:
        # A loader draws one number from the global generator. The rest of an epoch that was begun before an
        # interruption must not draw again: the restored generator has that draw behind it.
        own = torch.Generator() if continued else None
        loader: DataLoader[Any] = DataLoader(
            self.dataset, batch_sampler=chosen, num_workers=self.workers, collate_fn=collate, generator=own
        )
        yield from loader


def label_rule(datasets: Datasets, method: Method) -> Rule:
    """Return how raw ids become labels: as the method was published, unless the configuration says otherwise."""
    return method.label_rule if datasets.label_map == "method" else datasets.label_map


def collate(items: Sequence[dict[str, Any]]) -> Batch:
    """Return the items as one Batch."""
    return Batch(
        images=torch.stack([item["image"] for item in items]),
        masks=torch.stack([item["mask"] for item in items]),
        labels=torch.stack([item["labels"] for item in items]),
        image_ids=tuple(item["image_id"] for item in items),
        roles=tuple(item["role"] for item in items),
        saliency=torch.stack([item["saliency"] for item in items]) if "saliency" in items[0] else None,
    )
