"""Colours of classes in overlays: told apart by colour up to twenty, by stripes beyond, the same hue over any image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

COLOURS = (
    "0078ff", "f08700", "2da51e", "ff2dff", "871e0f", "69d2ff", "ffe100", "690fb4", "ff000f", "00ffc3",
    "696900", "ffa5a5", "2d4b78", "00ff0f", "ff2d78", "d2e1a5", "007869", "f0a5ff", "870069", "0000ff",
)  # fmt: skip
"""Chosen far apart in CIELAB: no two closer than 40."""
VOID = 255
_STRIPES = ((0, 0), (1, 1), (1, -1), (0, 1), (1, 0), (2, 1), (1, 2), (2, -1), (1, -2), (3, 1), (1, 3), (3, -1), (1, -3))
"""Direction (down, right) of the stripes of each group of twenty classes; the first group has none."""
_TABLE = np.array([[int(word[i : i + 2], 16) for i in (0, 2, 4)] for word in COLOURS], np.float32)


def colour(index: int) -> tuple[int, int, int]:
    """Return the colour of a channel, 1 or higher; 0 and void are light grey."""
    if index in (0, VOID):
        return (235, 235, 235)
    red, green, blue = (int(value) for value in _TABLE[(index - 1) % len(COLOURS)])
    return red, green, blue


def overlay(image: Image.Image, labels: NDArray[np.uint8]) -> Image.Image:
    """Return an image with the classes of (H, W) `labels` filled and outlined; the background shows as it is.

    The fill is mixed with the image's grey, so that its hue is the class's over any image.
    """
    pixels = np.asarray(image.convert("RGB"), np.float32)
    grey = np.asarray(image.convert("L"), np.float32)[..., None]
    classes = (labels != 0) & (labels != VOID)
    full = _TABLE[(np.maximum(labels, 1).astype(int) - 1) % len(COLOURS)]
    filled = 0.4 * grey + 0.6 * full * np.where(_striped(labels), 0.25, 1.0)[..., None]
    shown = np.where(classes[..., None], filled, pixels)
    shown = np.where((classes & _edges(labels))[..., None], full, shown)
    shown = np.where((labels == VOID)[..., None], 0.25 * pixels + 0.75 * 235, shown)
    return Image.fromarray(shown.clip(0, 255).astype(np.uint8))


def swatch(index: int, side: int = 24) -> Image.Image:
    """Return a class's entry in a legend: a piece of grey under its overlay."""
    return overlay(Image.new("RGB", (side, side), (128, 128, 128)), np.full((side, side), index, np.uint8))


def _striped(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    directions = np.array(_STRIPES)[np.maximum(labels.astype(int) - 1, 0) // len(COLOURS) % len(_STRIPES)]
    rows, columns = np.indices(labels.shape)
    width = max(2, max(labels.shape) // 32)
    phase = (directions[..., 0] * rows + directions[..., 1] * columns) // width
    striped: NDArray[np.bool_] = directions.any(axis=-1) & (phase % 2 == 1)
    return striped


def _edges(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    wide = np.pad(labels, 1, mode="edge")
    centre = wide[1:-1, 1:-1]
    beside = (wide[:-2, 1:-1], wide[2:, 1:-1], wide[1:-1, :-2], wide[1:-1, 2:])
    edges: NDArray[np.bool_] = np.any([other != centre for other in beside], axis=0)
    return edges
