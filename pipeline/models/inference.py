"""Predictions of a network over many images: the loop of evaluation, best checkpoint and pseudo-labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.models.network import SegmentationModel
from pipeline.models.resize import upsample
from pipeline.runtime.progress import Progress

Item = TypeVar("Item")
Decode = Callable[[Tensor], Sequence[Tensor]]


def predict(
    network: SegmentationModel,
    batches: Iterable[tuple[Sequence[Item], Tensor]],
    decode: Decode,
    *,
    memory_format: torch.memory_format = torch.preserve_format,
    progress: Progress | None = None,
) -> Iterator[tuple[Item, tuple[NDArray[Any], ...]]]:
    """Yield every item of the batches with what `decode` makes of its logits, on the CPU.

    A batch is its items and their normalised images (B, 3, H, W), which go to the network's device in
    `memory_format`. `decode` gets the logits (B, N, H, W), upsampled to the images' size and at least float32, and
    returns tensors whose first axis is B. The network's mode is the caller's, no gradient is kept.
    """
    device = next(network.parameters()).device
    for items, images in batches:
        with torch.inference_mode():
            placed = images.to(device, memory_format=memory_format)
            outputs = [t.cpu().numpy() for t in decode(upsample(network(placed).logits, images.shape[-2:]))]
        yield from zip(items, zip(*outputs, strict=True), strict=True)
        if progress is not None:
            progress.update(len(items))
