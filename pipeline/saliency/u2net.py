"""U2-Net saliency (Qin et al., Pattern Recognition 106, 2020) by ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.datasets.imagenet import MEAN, STD
from pipeline.runtime.onnx import open_session
from pipeline.saliency.weights import find_weights

SIDE = 320
"""Side of the network's input in pixels; the released graph takes one image of this size at a time."""


class U2Net:
    """Turns an image into a soft saliency map. One object may serve several threads.

    Raises SaliencyError if the weights are missing or not the pinned ones, ValueError if ONNX Runtime is missing.
    """

    def __init__(self, model: str = "u2netp", weights: Path | None = None) -> None:
        self._session = open_session(find_weights(model, weights))
        self._input = self._session.get_inputs()[0].name
        self._fused = self._session.get_outputs()[0].name

    def __call__(self, image: Image.Image) -> NDArray[np.uint8]:
        """Return uint8 (H, W) of an RGB image: its fused map, stretched so that it spans 0..255.

        A constant map becomes 0. Stretching means that some pixel is always fully salient, also where the
        image shows no object.
        """
        (fused,) = self._session.run([self._fused], {self._input: prepare(image)[None]})
        return restore(fused[0, 0], image.size)


def prepare(image: Image.Image) -> NDArray[np.float32]:
    """Return float32 (3, 320, 320): divided by the brightest value, then ImageNet mean and deviation."""
    pixels = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR), np.float32)
    pixels = pixels / max(float(pixels.max()), 1.0)
    return np.ascontiguousarray(((pixels - np.array(MEAN, np.float32)) / np.array(STD, np.float32)).transpose(2, 0, 1))


def restore(fused: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return uint8 (H, W) of a map (h, w), stretched to 0..255 and resized to `size` = (W, H)."""
    low, high = float(fused.min()), float(fused.max())
    stretched = (fused - low) / (high - low) if high > low else np.zeros_like(fused)
    small = Image.fromarray(np.round(stretched * 255).astype(np.uint8))
    return np.asarray(small.resize(size, Image.Resampling.BILINEAR))
