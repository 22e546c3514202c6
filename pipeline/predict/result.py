"""What a model sees in one image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Segmentation:
    """What a model sees in one image.

    mask: (H, W), uint8; its values are positions in `class_names`.
    probabilities: (C, H, W), float32, one map per class in the same order: a softmax, or a sigmoid per class for
    models that were trained with binary losses, which need not sum to 1. Empty (0, H, W) if they were not asked for.
    confidence: (H, W), float32, the probability of the class in the mask.
    """

    mask: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
    confidence: NDArray[np.float32]
    class_names: tuple[str, ...]
