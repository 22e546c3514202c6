"""A pen that draws parts of one object in unit coordinates, and rasterises them with their mask."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

Point = tuple[float, float]
Colour = tuple[int, int, int]
SUPERSAMPLE = 3


class Pen:
    """Collects polygons of an object in its box: x to the right and y downwards, both 0..1."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.parts: list[tuple[list[Point], Colour, bool]] = []

    def poly(self, points: Sequence[Point], colour: Colour, line: bool = True) -> None:
        """Add a filled polygon; `line` gives it an outline in line-art styles."""
        self.parts.append((list(points), colour, line))

    def rect(self, x0: float, y0: float, x1: float, y1: float, colour: Colour, line: bool = True) -> None:
        """Add an axis-parallel rectangle."""
        self.poly([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour, line)

    def disc(
        self, x: float, y: float, rx: float, ry: float, colour: Colour, line: bool = True, tilt: float = 0.0
    ) -> None:
        """Add an ellipse with half axes rx, ry, turned by `tilt` radians."""
        c, s = math.cos(tilt), math.sin(tilt)
        ring = []
        for k in range(20):
            u, v = rx * math.cos(math.tau * k / 20), ry * math.sin(math.tau * k / 20)
            ring.append((x + u * c - v * s, y + u * s + v * c))
        self.poly(ring, colour, line)

    def limb(self, a: Point, b: Point, width: float, colour: Colour, end: float | None = None) -> None:
        """Add a straight limb from a to b, `width` thick at a and `end` at b."""
        length = math.hypot(b[0] - a[0], b[1] - a[1]) or 1e-6
        nx, ny = -(b[1] - a[1]) / length / 2, (b[0] - a[0]) / length / 2
        end = width if end is None else end
        self.poly(
            [
                (a[0] + nx * width, a[1] + ny * width),
                (b[0] + nx * end, b[1] + ny * end),
                (b[0] - nx * end, b[1] - ny * end),
                (a[0] - nx * width, a[1] - ny * width),
            ],
            colour,
        )

    def ring(self, x: float, y: float, r: float, width: float, aspect: float, colour: Colour) -> None:
        """Add a wheel: an annulus of outer half height r, as four arcs so that its hole stays open."""
        for quarter in range(4):
            angles = [math.tau * (quarter + k / 5) / 4 for k in range(6)]
            outer = [(x + r / aspect * math.cos(a), y + r * math.sin(a)) for a in angles]
            inner = [(x + (r - width) / aspect * math.cos(a), y + (r - width) * math.sin(a)) for a in angles]
            self.poly(outer + inner[::-1], colour, False)

    def shade(self, colour: Colour, factor: float) -> Colour:
        """Return a colour made lighter (factor > 1) or darker."""
        r, g, b = (max(0, min(255, round(c * factor))) for c in colour)
        return r, g, b

    def pick(self, *colours: Colour, spread: int = 18) -> Colour:
        """Return one of the colours, varied by up to `spread` per channel."""
        base = colours[int(self.rng.integers(len(colours)))]
        r, g, b = (int(np.clip(c + self.rng.integers(-spread, spread + 1), 0, 255)) for c in base)
        return r, g, b

    def vary(self, low: float, high: float) -> float:
        """Return a uniform number."""
        return float(self.rng.uniform(low, high))

    def raster(
        self, width: int, height: int, flip: bool, turn: float, outline: bool
    ) -> tuple[Image.Image, Image.Image]:
        """Return (RGB layer, L mask) of `width` x `height` pixels, supersampled by SUPERSAMPLE.

        The object is flipped, turned by `turn` radians about its centre, and shrunk to stay in the box.
        """
        w, h = width * SUPERSAMPLE, height * SUPERSAMPLE
        layer, mask = Image.new("RGB", (w, h)), Image.new("L", (w, h), 0)
        draw, cut = ImageDraw.Draw(layer), ImageDraw.Draw(mask)
        c, s = math.cos(turn), math.sin(turn)
        shrink = 1 / (abs(c) + abs(s) * max(w / h, h / w) * 0.5)
        shrink = min(1.0, shrink) * 0.98
        pen_width = max(2, round(0.018 * math.sqrt(w * h)))
        for points, colour, line in self.parts:
            placed = []
            for x, y in points:
                u = ((1 - x if flip else x) - 0.5) * w * shrink
                v = (y - 0.5) * h * shrink
                placed.append((w / 2 + u * c - v * s, h / 2 + u * s + v * c))
            draw.polygon(placed, fill=colour)
            cut.polygon(placed, fill=255)
            if outline and line:
                draw.line([*placed, placed[0]], fill=(15, 15, 15), width=pen_width)
                cut.line([*placed, placed[0]], fill=255, width=pen_width)
        return layer, mask
