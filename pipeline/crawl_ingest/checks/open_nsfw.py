"""Open-NSFW (Yahoo, 2016): a ResNet-50-thin that tells how likely an image is pornographic, by ONNX Runtime.

It knows nothing of violence, hatred, drawings or the law, and it errs both ways. Its authors call a score below 0.2
very likely safe and one above 0.8 very likely not.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.runtime.onnx import open_session
from pipeline.runtime.weights import known_weights, packaged_weights

FILE = "open-nsfw.onnx"
"""Name in weights.lock."""
RESIZED, SIDE = 256, 224
"""Pixels: the image is squeezed into a square, of which the centre is seen."""
MEAN_BGR = np.array([104, 117, 123], np.float32)


class OpenNsfw:
    """Scores images. Raises WeightsError if the package with the weights is missing or they are not the pinned ones.

    The network is loaded when the first image comes: whoever has nothing to score keeps its memory.
    """

    def __init__(self) -> None:
        self._path = packaged_weights(FILE)
        self.key = f"open_nsfw {known_weights(FILE).sha256}"
        """Names the model in the pool's state."""
        self._session: Any = None

    def scores(self, images: Iterable[Image.Image]) -> NDArray[np.float32]:
        """Return float32 (N,): the probability that an RGB image is not safe for work. It depends on no other image."""
        return self.probabilities(np.stack([prepare(image) for image in images]))[:, 1]

    def probabilities(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return float32 (N, 2), the probabilities of safe and unsafe, of prepared images (N, 224, 224, 3)."""
        if self._session is None:
            self._session = open_session(self._path)
        (found,) = self._session.run(None, {self._session.get_inputs()[0].name: batch})
        return np.asarray(found)


def prepare(image: Image.Image) -> NDArray[np.float32]:
    """Return float32 (224, 224, 3) of an RGB image as the network was trained: blue first, less the data set's mean.

    The image passes through a JPEG at its final size, as in the reference implementation.
    """
    low, high = (RESIZED - SIDE) // 2, (RESIZED + SIDE) // 2
    centre = image.resize((RESIZED, RESIZED), Image.Resampling.BILINEAR).crop((low, low, high, high))
    with io.BytesIO() as buffer:
        centre.save(buffer, "JPEG")
        pixels = np.asarray(Image.open(buffer), np.float32)
    return np.ascontiguousarray(pixels[:, :, ::-1] - MEAN_BGR)
