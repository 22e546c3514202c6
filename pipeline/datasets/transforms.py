"""Joint transforms of image and mask (web_wilss.md 7.4, 7.5; ciss_methods.md 2.2), by torchvision's v2 functions.

What is resized may be a Pillow picture or a uint8 tensor (..., H, W); all that follows works on tensors. Data sets
pass pictures: the published transforms resample by Pillow's kernels, and torchvision's for tensors differ from them by
up to two grey levels and, where the nearest pixel is a tie, by a label.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as v2

from pipeline.datasets.imagenet import MEAN, STD

Picture: TypeAlias = Image.Image | Tensor
AnyPicture = TypeVar("AnyPicture", Image.Image, Tensor)

RATIO = (3 / 4, 4 / 3)
ATTEMPTS = 10
ZOOM = (0.5, 2.0)
SMOOTH = InterpolationMode.BILINEAR
# For tensors plain NEAREST takes the pixel half a step to the upper left, as no image was ever resized.
NEAREST = InterpolationMode.NEAREST_EXACT


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
    """Top, left, height, width."""
    size: int
    flip: bool

    @classmethod
    def draw(cls, width: int, height: int, size: int, rng: random.Random, area: tuple[float, float]) -> TrainGeometry:
        """Return a crop of a `width` x `height` picture to `size` and a flip with probability one half."""
        return cls(crop_box(width, height, rng, area), size, rng.random() < 0.5)

    def picture(self, image: Picture) -> Tensor:
        """Return the crop of a picture, resized bilinearly: uint8 (3, S, S)."""
        return self._apply(image, SMOOTH)

    def labels(self, mask: Picture, margin: int = 255) -> Tensor:
        """Return the crop of a one-channel mask, each pixel the nearest one: uint8 (S, S); there is no margin."""
        return self._apply(mask, NEAREST)[0]

    def _apply(self, image: Picture, kernel: InterpolationMode) -> Tensor:
        crop = pixels(v2.resized_crop(image, *self.box, [self.size, self.size], interpolation=kernel))
        return v2.horizontal_flip(crop) if self.flip else crop


@dataclass(frozen=True)
class ScaleGeometry:
    """One draw of zoom, crop and flip, as SSUL trains: unlike TrainGeometry it also zooms out (ciss_methods.md 2.2)."""

    scaled: tuple[int, int]
    """Width, height."""
    left: int
    top: int
    size: int
    flip: bool

    @classmethod
    def draw(cls, width: int, height: int, size: int, rng: random.Random) -> ScaleGeometry:
        """Return a zoom uniform in 0.5..2, a square of `size` in the zoomed picture, and a flip by one half.

        A picture that is too small gets the same margin on all four sides, so that it is in the middle of its
        shorter direction, before the square is drawn.
        """
        zoom = rng.uniform(*ZOOM)
        w, h = max(1, round(width * zoom)), max(1, round(height * zoom))
        margin = _margin(w, h, size)
        left, top = (rng.randint(0, side + 2 * margin - size) - margin for side in (w, h))
        return cls((w, h), left, top, size, rng.random() < 0.5)

    def picture(self, image: Picture) -> Tensor:
        """Return the square of a picture, resized bilinearly: uint8 (3, S, S); margins are black."""
        return self._apply(image, SMOOTH, 0)

    def labels(self, mask: Picture, margin: int = 255) -> Tensor:
        """Return the square of a one-channel mask, each pixel the nearest one: uint8 (S, S); margins hold `margin`."""
        return self._apply(mask, NEAREST, margin)[0]

    def _apply(self, image: Picture, kernel: InterpolationMode, margin: int) -> Tensor:
        w, h = self.scaled
        square = pixels(v2.resize(image, [h, w], interpolation=kernel))
        before = [max(0, -self.left), max(0, -self.top)]
        after = [max(0, self.left + self.size - w), max(0, self.top + self.size - h)]
        square = v2.pad(square, before + after, fill=margin)
        square = v2.crop(square, max(0, self.top), max(0, self.left), self.size, self.size)
        return v2.horizontal_flip(square) if self.flip else square


def _margin(width: int, height: int, size: int) -> int:
    """Return the margin on every side: for the width first, then for what of the height is still missing."""
    margin = (1 + size - width) // 2 if width < size else 0
    height += 2 * margin
    return margin + ((1 + size - height) // 2 if height < size else 0)


def eval_geometry(image: AnyPicture, size: int | None, nearest: bool = False) -> AnyPicture:
    """Return the picture with its shorter side resized to `size`, then centre-cropped; None leaves it whole.

    The longer side is cut to whole pixels, as torchvision and so the published evaluations do.
    """
    if size is None:
        return image
    resized = v2.resize(image, [size], interpolation=NEAREST if nearest else SMOOTH)
    cropped: AnyPicture = v2.center_crop(resized, [size, size])
    return cropped


def pixels(image: Picture) -> Tensor:
    """Return the uint8 tensor (C, H, W) of a picture; a tensor is returned as it is."""
    tensor: Tensor = image if isinstance(image, Tensor) else v2.pil_to_tensor(image)
    return tensor


def normalise(image: Picture) -> Tensor:
    """Return float32 (3, H, W), normalised with the ImageNet mean and deviation."""
    # Divided, not multiplied by 1/255 as `to_dtype` would: the last bit is the originals'.
    scaled = pixels(image).to(torch.float32, memory_format=torch.contiguous_format).div_(255)
    normalised: Tensor = v2.normalize(scaled, MEAN, STD, inplace=True)
    return normalised
