"""Backgrounds: settings painted as gradients and 1/f texture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.miniweb.drawing.texture import noise

Paint = NDArray[np.float32]
SETTINGS = ("sky", "grass", "sea", "field", "street", "room", "studio")

_TOP = {
    "sky": ((95, 150, 220), (150, 185, 230), (225, 170, 140)),
    "grass": ((150, 190, 230), (190, 205, 215)),
    "sea": ((140, 185, 230), (235, 190, 160), (180, 195, 205)),
    "field": ((165, 195, 225), (205, 205, 200)),
    "street": ((175, 175, 178), (150, 120, 105), (190, 185, 170)),
    "room": ((205, 190, 165), (170, 185, 175), (190, 175, 185), (225, 220, 210)),
    "studio": ((200, 200, 205), (170, 170, 180), (225, 215, 200)),
}
_BOTTOM = {
    "sky": ((190, 215, 240), (225, 225, 225), (245, 210, 180)),
    "grass": ((85, 140, 60), (110, 150, 75), (70, 120, 60)),
    "sea": ((40, 95, 140), (60, 125, 150), (70, 105, 125)),
    "field": ((165, 150, 90), (125, 140, 80), (150, 125, 90)),
    "street": ((95, 95, 98), (120, 115, 110), (80, 82, 88)),
    "room": ((135, 95, 65), (110, 100, 95), (160, 130, 95)),
    "studio": ((180, 180, 185), (150, 150, 160), (205, 195, 180)),
}


def paint_background(
    rng: np.random.Generator, setting: str, width: int, height: int, flat: bool
) -> tuple[Paint, float]:
    """Return (float32 picture HxWx3 in 0..255, height of the ground line as a fraction).

    `flat` leaves texture out and simplifies colours, as clip art does.
    """
    top, bottom = (_colour(rng, table[setting]) for table in (_TOP, _BOTTOM))
    horizon = float(rng.uniform(0.35, 0.6)) if setting not in ("sky", "studio") else 1.0
    if flat and rng.random() < 0.6:
        plain = np.full((height, width, 3), rng.choice([255, 245, 230]), np.float32)
        return plain, horizon
    rows = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    if horizon == 1.0:
        mix = rows * (0 if flat else 1)
        picture = np.broadcast_to(top * (1 - mix) + bottom * mix, (height, width, 3)).astype(np.float32)
    else:
        picture = np.broadcast_to(np.where(rows < horizon, top, bottom), (height, width, 3)).astype(np.float32)
    if flat:
        return picture.copy(), horizon
    return _texture(rng, picture.copy(), setting, round(horizon * height)), horizon


def _texture(rng: np.random.Generator, picture: Paint, setting: str, line: int) -> Paint:
    height, width = picture.shape[:2]
    coarse = noise(rng, height, width, 1.35)[..., None]
    strength = {"sky": 11, "studio": 9, "room": 9}.get(setting, 13)
    picture += coarse * strength
    if line < height:
        below = noise(rng, height - line, width, 0.95)[..., None]
        depth = np.linspace(0.8, 1.1, height - line, dtype=np.float32)[:, None, None]
        picture[line:] = picture[line:] * depth + below * {"room": 9, "sea": 13}.get(setting, 17)
    if setting == "sky" and rng.random() < 0.7:
        cloud = np.clip(noise(rng, height, width, 1.6) * 0.6 - 0.1, 0, 1)[..., None]
        picture += cloud * (245 - picture) * 0.8
    if setting in ("grass", "field", "street") and line > 8:
        _skyline(rng, picture, setting, line)
    if setting == "room":
        _wall(rng, picture, line)
    return picture


def _skyline(rng: np.random.Generator, picture: Paint, setting: str, line: int) -> None:
    width = picture.shape[1]
    if setting == "street":
        x = 0
        while x < width:
            w, h = int(rng.integers(14, 34)), int(rng.integers(line // 3, line))
            colour = _colour(rng, ((150, 120, 105), (175, 170, 160), (120, 125, 135), (165, 140, 110)))
            part = picture[line - h : line, x : x + w]
            part[:] = 0.35 * part + 0.65 * colour
            for row in range(line - h + 3, line - 4, 7):
                picture[row : row + 3, x + 3 : x + w - 3 : 6] *= 0.72
            x += w
        return
    bumps = noise(rng, 1, width, 1.5)[0]
    for x, bump in enumerate(bumps):
        h = max(2, int(line * 0.16 + bump * line * 0.06))
        picture[max(0, line - h) : line, x] *= np.array([0.55, 0.68, 0.5], np.float32)


def _wall(rng: np.random.Generator, picture: Paint, line: int) -> None:
    height, width = picture.shape[:2]
    picture[line : line + 3] *= 0.75
    if rng.random() < 0.5:
        x, w = int(rng.integers(0, max(1, width - 30))), int(rng.integers(18, 30))
        h = max(6, line // 2)
        picture[4 : 4 + h, x : x + w] = (
            picture[4 : 4 + h, x : x + w] * 0.3 + np.array([165, 180, 195], np.float32) * 0.7
        )
        picture[4 : 4 + h, x + w // 2] *= 0.7
    for row in range(line + 8, height, 9):
        picture[row] *= 0.88


def _colour(rng: np.random.Generator, table: tuple[tuple[int, int, int], ...]) -> Paint:
    base = np.array(table[int(rng.integers(len(table)))], np.float32)
    return base + rng.normal(0, 8, 3).astype(np.float32)
