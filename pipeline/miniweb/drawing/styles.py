"""Styles of web images. All but `photo` leave another trace in the Fourier spectrum."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

STYLES: tuple[str, ...] = ("photo", "clipart", "halftone", "upscaled", "compressed", "noisy")
Picture = NDArray[np.float32]


def finish(rng: np.random.Generator, picture: Picture, style: str) -> Image.Image:
    """Return the picture (float32 HxWx3, 0..255) as it would leave a camera, a printer or a bad server."""
    if style == "clipart":
        return _image(picture)
    picture = _expose(rng, picture)
    if style == "halftone":
        return _image(_halftone(rng, picture))
    if style == "noisy":
        grain = rng.normal(0, rng.uniform(26, 40), picture.shape).astype(np.float32)
        return _image(picture + grain)
    image = _image(picture + rng.normal(0, rng.uniform(1.0, 3.0), picture.shape).astype(np.float32))
    if style == "upscaled":
        small = (max(8, round(image.width / 3.2)), max(8, round(image.height / 3.2)))
        return image.resize(small, Image.Resampling.BOX).resize(image.size, Image.Resampling.BICUBIC)
    if style == "compressed":
        return _squeeze(image, int(rng.integers(5, 12)))
    return image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.0, 0.5))))


def _expose(rng: np.random.Generator, picture: Picture) -> Picture:
    balance = rng.normal(1.0, 0.04, 3).astype(np.float32)
    contrast, gain = rng.uniform(0.85, 1.1), rng.uniform(0.85, 1.12)
    return ((picture - 128) * contrast + 128) * balance * np.float32(gain)


def _halftone(rng: np.random.Generator, picture: Picture) -> Picture:
    # A rotated dot screen: each channel is thresholded against a cosine grid, as in newspaper print.
    height, width = picture.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    period = float(rng.uniform(3.2, 4.6))
    out = np.empty_like(picture)
    for channel, degrees in enumerate((15, 45, 75)):
        a = np.deg2rad(degrees)
        u, v = x * np.cos(a) + y * np.sin(a), y * np.cos(a) - x * np.sin(a)
        screen = 127.5 + 63.75 * (np.cos(2 * np.pi * u / period) + np.cos(2 * np.pi * v / period))
        out[..., channel] = np.clip((picture[..., channel] - screen) * 3 + 128, 20, 245)
    return out


def _squeeze(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=2)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


def _image(picture: Picture) -> Image.Image:
    return Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
