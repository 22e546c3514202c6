"""Composition of a scene: background, objects with texture and shading, mask with void borders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from pipeline.miniweb.drawing.background import SETTINGS, paint_background
from pipeline.miniweb.drawing.catalogue import CLASS_NAMES, KINDS
from pipeline.miniweb.drawing.pen import Pen
from pipeline.miniweb.drawing.styles import STYLES, finish
from pipeline.miniweb.drawing.texture import noise

VOID = 255
VISIBLE_PIXELS = 40
"""A class with fewer pixels left after occlusion does not count as shown."""


@dataclass(frozen=True)
class Scene:
    """A drawn image, its mask (uint8 HxW, VOC ids and 255), the classes visible, and its setting."""

    image: Image.Image
    mask: NDArray[np.uint8]
    class_ids: tuple[int, ...]
    setting: str


def draw_scene(
    rng: np.random.Generator,
    class_ids: Sequence[int],
    *,
    size: tuple[int, int] = (128, 96),
    style: str = "photo",
    main_class: int | None = None,
) -> Scene:
    """Return a scene of the given classes, `size` = (width, height) pixels; the main class is drawn last.

    Deterministic in `rng`. Raises ValueError for an unknown class or style.
    """
    _check(class_ids, style)
    main = class_ids[0] if main_class is None else main_class
    width, height = size
    flat = style == "clipart"
    settings = KINDS[main].settings
    setting = settings[int(rng.integers(len(settings)))] if rng.random() < 0.85 else str(rng.choice(SETTINGS))
    picture, horizon = paint_background(rng, setting, width, height, flat)
    mask = np.zeros((height, width), np.uint8)
    others = [c for c in class_ids if c != main]
    crowd = [main] if rng.random() < 0.12 else []
    for order, class_id in enumerate([*others, *crowd, main]):
        is_main = order == len(others) + len(crowd)
        shrink = 1.0 if is_main and not others else 0.8 if is_main else 0.6
        _paste(rng, picture, mask, class_id, horizon, shrink, flat)
    image = finish(rng, picture, style)
    visible = [c for c in sorted(set(class_ids)) if int((mask == c).sum()) >= VISIBLE_PIXELS]
    return Scene(image, _with_void(mask), tuple(visible), setting)


def _check(class_ids: Sequence[int], style: str) -> None:
    if style not in STYLES:
        raise ValueError(f"unknown style {style!r}, expected one of {', '.join(STYLES)}")
    unknown = [c for c in class_ids if c not in KINDS]
    if unknown or not class_ids:
        raise ValueError(f"class ids {list(class_ids)} must be between 1 and {len(CLASS_NAMES) - 1}, at least one")


def _paste(
    rng: np.random.Generator,
    picture: NDArray[np.float32],
    mask: NDArray[np.uint8],
    class_id: int,
    horizon: float,
    shrink: float,
    flat: bool,
) -> None:
    height, width = mask.shape
    kind = KINDS[class_id]
    pen = Pen(rng)
    aspect = kind.draw(pen)
    area = rng.uniform(*kind.area) * shrink * width * height * 1.35
    h = min(math.sqrt(area / aspect), height * 0.96, width * 0.96 / aspect)
    w, h = max(10, round(h * aspect)), max(10, round(h))
    layer, cut = pen.raster(w, h, bool(rng.random() < 0.5), float(rng.normal(0, kind.turn)), flat)
    x, y = _place(rng, width, height, w, h, horizon, class_id)
    colours = np.asarray(layer.resize((w, h), Image.Resampling.BOX), np.float32)
    soft = np.asarray(cut.resize((w, h), Image.Resampling.BOX), np.float32)[..., None] / 255
    if not flat:
        colours = _lit(rng, colours)
    region = picture[y : y + h, x : x + w]
    if not flat:
        region *= (
            1 - 0.25 * np.asarray(_shadow(cut, w, h), np.float32)[: region.shape[0], : region.shape[1], None] / 255
        )
    region[:] = region * (1 - soft) + colours * soft
    mask[y : y + h, x : x + w][soft[..., 0] > 0.5] = class_id


def _place(
    rng: np.random.Generator, width: int, height: int, w: int, h: int, horizon: float, class_id: int
) -> tuple[int, int]:
    x = int(rng.integers(0, max(1, width - w + 1)))
    if horizon == 1.0 or (class_id == 3 and rng.random() < 0.5):
        return x, int(rng.integers(0, max(1, height - h + 1)))
    # Objects stand on the ground: their feet lie between the horizon and the lower edge.
    lowest, highest = height - h, max(0, round(horizon * height) + 4 - h)
    return x, int(rng.integers(min(highest, lowest), lowest + 1))


def _lit(rng: np.random.Generator, colours: NDArray[np.float32]) -> NDArray[np.float32]:
    h, w = colours.shape[:2]
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j]
    light = 1 + 0.17 * (x * math.cos(angle) + y * math.sin(angle))[..., None]
    grain = 1 + 0.075 * noise(rng, h, w, 0.9)[..., None]
    return (colours * light * grain + noise(rng, h, w, 0.6)[..., None] * 4).astype(np.float32)


def _shadow(cut: Image.Image, w: int, h: int) -> Image.Image:
    small = cut.resize((w, h), Image.Resampling.BOX)
    moved = Image.new("L", (w, h), 0)
    moved.paste(small, (1, 2))
    return moved.filter(ImageFilter.GaussianBlur(1.5))


def _with_void(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    # VOC leaves object borders unlabelled: a pixel whose right or lower neighbour differs becomes void.
    edge = np.zeros(mask.shape, bool)
    edge[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    edge[:-1] |= mask[:-1] != mask[1:]
    out = mask.copy()
    out[edge] = VOID
    return out
