"""Which images look like one that a protocol evaluates on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from pipeline.datasets.images import open_image
from pipeline.datasets.protocol_file import Protocol
from pipeline.runtime.perceptual_hash import perceptual_hash


def evaluation_hashes(protocol: Protocol) -> list[str]:
    """Return the hash of every image that a protocol evaluates on, its further evaluation sets included."""
    return [perceptual_hash(open_image(row.image)) for row in protocol.evaluation]


def near_evaluation(images: Iterable[str], evaluation: Sequence[str], bits: int) -> list[bool]:
    """Return for every image (path or address in a tar) whether its hash is within `bits` of one in `evaluation`."""
    known = np.array([int(value, 16) for value in evaluation], np.uint64)
    found = []
    for image in images:
        value = np.uint64(int(perceptual_hash(open_image(image)), 16))
        found.append(bool((np.bitwise_count(known ^ value) <= bits).any()))
    return found
