"""Joint transforms of image and mask (web_wilss.md 7.4, 7.5; ciss_methods.md 2.2)."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MEAN = np.array((0.485, 0.456, 0.406), np.float32)
STD = np.array((0.229, 0.224, 0.225), np.float32)
RATIO = (3 / 4, 4 / 3)
ATTEMPTS = 10
ZOOM = (0.5, 2.0)


def crop_box(
    width: int, height: int, rng: random.Random, area: tuple[float, float] = (0.5, 2.0)
) -> tuple[int, int, int, int]:
    """Return (top, left, height, width) of a random resized crop.

    Up to ten attempts: area fraction uniform in `area`, log-uniform aspect in 3/4..4/3, accepted if it fits;
    then the largest centred crop whose aspect is within bounds. Fractions above 1 never fit.
    """
    for _ in range(ATTEMPTS):
        target = rng.uniform(*area) * width * height
        aspect = math.exp(rng.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        w, h = round(math.sqrt(target * aspect)), round(math.sqrt(target / aspect))
        if w <= width and h <= height:
            top = rng.randint(0, height - h)
            return top, rng.randint(0, width - w), h, w
    ratio = width / height
    w, h = width, height
    if ratio < RATIO[0]:
        h = round(width / RATIO[0])
    elif ratio > RATIO[1]:
        w = round(height * RATIO[1])
    return (height - h) // 2, (width - w) // 2, h, w


@dataclass(frozen=True)
class TrainGeometry:
    """One draw of the random resized crop and flip, to be applied to an image and to all that lies on its pixels."""

    box: tuple[int, int, int, int]
    size: int
    flip: bool

    @classmethod
    def draw(cls, width: int, height: int, size: int, rng: random.Random, area: tuple[float, float]) -> TrainGeometry:
        """Return a crop of a `width` x `height` picture to `size` and a flip with probability one half."""
        top, left, h, w = crop_box(width, height, rng, area)
        return cls((left, top, left + w, top + h), size, rng.random() < 0.5)

    def picture(self, image: Image.Image) -> Image.Image:
        """Return the crop of a picture, resized bilinearly."""
        return self._apply(image, Image.Resampling.BILINEAR)

    def labels(self, mask: Image.Image, margin: int = 255) -> Image.Image:
        """Return the crop of a mask, each pixel the nearest one; this crop has no margin."""
        return self._apply(mask, Image.Resampling.NEAREST)

    def _apply(self, image: Image.Image, resampling: Image.Resampling) -> Image.Image:
        image = image.crop(self.box).resize((self.size, self.size), resampling)
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if self.flip else image


@dataclass(frozen=True)
class ScaleGeometry:
    """One draw of zoom, crop and flip, as SSUL trains: unlike TrainGeometry it also zooms out (ciss_methods.md 2.2)."""

    scaled: tuple[int, int]
    left: int
    top: int
    size: int
    flip: bool

    @classmethod
    def draw(cls, width: int, height: int, size: int, rng: random.Random) -> ScaleGeometry:
        """Return a zoom uniform in 0.5..2, a square of `size` within it or around it, and a flip by one half."""
        zoom = rng.uniform(*ZOOM)
        w, h = max(1, round(width * zoom)), max(1, round(height * zoom))
        left, top = (rng.randint(min(0, side - size), max(0, side - size)) for side in (w, h))
        return cls((w, h), left, top, size, rng.random() < 0.5)

    def picture(self, image: Image.Image) -> Image.Image:
        """Return the square of a picture, resized bilinearly; margins are black."""
        return self._apply(image, Image.Resampling.BILINEAR, 0)

    def labels(self, mask: Image.Image, margin: int = 255) -> Image.Image:
        """Return the square of a mask, each pixel the nearest one; margins hold `margin`."""
        return self._apply(mask, Image.Resampling.NEAREST, margin)

    def _apply(self, image: Image.Image, resampling: Image.Resampling, margin: int) -> Image.Image:
        square = Image.new(image.mode, (self.size, self.size), margin)
        square.paste(image.resize(self.scaled, resampling), (-self.left, -self.top))
        return square.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if self.flip else square


def eval_geometry(image: Image.Image, size: int | None, nearest: bool = False) -> Image.Image:
    """Return the picture with its shorter side resized to `size`, then centre-cropped; None leaves it whole."""
    if size is None:
        return image
    width, height = image.size
    short = min(width, height)
    new = (round(width * size / short), round(height * size / short))
    resampling = Image.Resampling.NEAREST if nearest else Image.Resampling.BILINEAR
    image = image.resize(new, resampling)
    left, top = round((new[0] - size) / 2), round((new[1] - size) / 2)
    return image.crop((left, top, left + size, top + size))


def normalise(image: Image.Image) -> NDArray[np.float32]:
    """Return float32 (3, H, W), normalised with the ImageNet mean and deviation."""
    pixels: NDArray[Any] = np.asarray(image, np.float32) / np.float32(255)
    return np.ascontiguousarray(((pixels - MEAN) / STD).transpose(2, 0, 1))
