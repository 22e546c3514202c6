"""Masks as palette PNGs, and overlays with a legend."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pipeline.predict.images import Pixels

OPACITY = 0.55
_LINE = 22
_SWATCH = 14
Colour = tuple[int, int, int]


def voc_palette() -> NDArray[np.uint8]:
    """Return VOC's colours (256, 3): the bits of a class id, spread over red, green and blue from the highest down."""
    ids, colours = np.arange(256), np.zeros((256, 3), np.uint8)
    for place in range(8):
        for channel in range(3):
            colours[:, channel] |= (((ids >> (3 * place + channel)) & 1) << (7 - place)).astype(np.uint8)
    return colours


def palette_mask(mask: NDArray[np.uint8]) -> Image.Image:
    """Return a mask (H, W) as a palette picture whose values are the mask's."""
    picture = Image.fromarray(mask)
    picture.putpalette(voc_palette().ravel().tolist())
    return picture


def blend(image: Pixels, mask: NDArray[np.uint8], background: int | None) -> Image.Image:
    """Return the image under its classes' colours; the background keeps the image's own."""
    covered = mask != background if background is not None else np.ones(mask.shape, bool)
    blended = image.astype(np.float32)
    blended[covered] += OPACITY * (voc_palette()[mask][covered] - blended[covered])
    return Image.fromarray(blended.round().astype(np.uint8))


def overlay(
    picture: Image.Image, mask: NDArray[np.uint8], class_names: Sequence[str], background: int | None
) -> Image.Image:
    """Return what `blend` made, with a legend of the classes in the mask below."""
    shown = [int(value) for value in np.unique(mask) if value != background]
    return _with_legend(picture, shown, class_names, mask)


def _with_legend(
    picture: Image.Image, shown: Sequence[int], class_names: Sequence[str], mask: NDArray[np.uint8]
) -> Image.Image:
    font = ImageFont.load_default(13)
    counts = np.bincount(mask.ravel(), minlength=256)
    entries = [(value, f"{class_names[value]} {100 * counts[value] / mask.size:.1f} %") for value in shown]
    width = max([picture.width, 160, *(_SWATCH + 18 + round(font.getlength(text)) for _, text in entries)])
    places, x, line = [], 0, 0
    for value, text in entries:
        advance = _SWATCH + 18 + round(font.getlength(text))
        if x and x + advance > width:
            x, line = 0, line + 1
        places.append((value, text, x + 6, line))
        x += advance
    if not entries:
        places = [(-1, "no class found", 6, 0)]
    sheet = Image.new("RGB", (width, picture.height + (line + 1) * _LINE), "white")
    sheet.paste(picture)
    draw = ImageDraw.Draw(sheet)
    for value, text, left, row in places:
        top = picture.height + row * _LINE + 4
        if value >= 0:
            draw.rectangle((left, top, left + _SWATCH, top + _SWATCH), fill=colour(value), outline="black")
            left += _SWATCH + 4
        draw.text((left, top), text, fill="black", font=font)
    return sheet


def colour(value: int) -> Colour:
    """Return the colour of a class."""
    red, green, blue = voc_palette()[value].tolist()
    return red, green, blue


def encoded(picture: Image.Image, kind: str) -> bytes:
    """Return a picture as the bytes of a file: `PNG`, or `JPEG` of quality 88."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **({"quality": 88} if kind == "JPEG" else {"optimize": False}))
    return buffer.getvalue()
