"""Vehicles."""

from __future__ import annotations

import math

from pipeline.miniweb.drawing.pen import Colour, Pen

GLASS: Colour = (165, 205, 230)
TYRE: Colour = (30, 30, 32)
METAL: Colour = (150, 155, 160)


def _wheel(pen: Pen, x: float, y: float, r: float, aspect: float) -> None:
    pen.disc(x, y, r / aspect, r, TYRE)
    pen.disc(x, y, r * 0.5 / aspect, r * 0.5, METAL, False)


def aeroplane(pen: Pen) -> float:
    """Draw a jet: fuselage, swept wings, tail fin, windows; return its aspect."""
    hull = pen.pick((240, 242, 246), (205, 212, 222), spread=10)
    paint = pen.pick((200, 40, 45), (40, 80, 180), (245, 165, 30))
    pen.poly([(0.5, 0.45), (0.66, 0.05), (0.76, 0.05), (0.66, 0.5)], pen.shade(hull, 0.78))
    pen.poly([(0.88, 0.46), (0.9, 0.08), (1.0, 0.04), (0.99, 0.5)], paint)
    pen.poly(
        [
            (0.0, 0.56),
            (0.04, 0.47),
            (0.16, 0.42),
            (0.9, 0.42),
            (1.0, 0.48),
            (0.92, 0.58),
            (0.2, 0.66),
            (0.06, 0.64),
        ],
        hull,
    )
    pen.rect(0.1, 0.56, 0.88, 0.6, paint, False)
    for k in range(9):
        pen.rect(0.2 + 0.07 * k, 0.48, 0.235 + 0.07 * k, 0.53, (50, 70, 100), False)
    pen.poly([(0.05, 0.5), (0.12, 0.46), (0.14, 0.51)], (40, 60, 90), False)
    pen.poly([(0.4, 0.58), (0.62, 0.58), (0.86, 0.98), (0.74, 0.98)], pen.shade(hull, 0.88))
    pen.disc(0.52, 0.74, 0.07, 0.07, METAL)
    pen.poly([(0.84, 0.5), (0.94, 0.5), (1.0, 0.66), (0.94, 0.66)], pen.shade(hull, 0.82))
    return pen.vary(2.0, 2.5)


def bicycle(pen: Pen) -> float:
    """Draw a bicycle: two thin wheels and a diamond frame."""
    frame = pen.pick((210, 30, 40), (30, 110, 200), (30, 150, 80), (240, 140, 20))
    aspect, r = 1.55, 0.31
    for x in (0.22, 0.78):
        pen.ring(x, 0.67, r, 0.065, aspect, TYRE)
        for k in range(4):
            a = math.pi * k / 4
            u, v = r * 0.85 / aspect * math.cos(a), r * 0.85 * math.sin(a)
            pen.limb((x - u, 0.67 - v), (x + u, 0.67 + v), 0.012, METAL)
    pedal, seat, neck = (0.46, 0.69), (0.38, 0.3), (0.68, 0.28)
    for start, end in (
        ((0.22, 0.67), pedal),
        ((0.22, 0.67), seat),
        (pedal, seat),
        (pedal, neck),
        ((0.39, 0.36), neck),
        (neck, (0.78, 0.67)),
    ):
        pen.limb(start, end, 0.055, frame)
    pen.limb((0.3, 0.26), (0.46, 0.26), 0.07, TYRE)
    pen.limb((0.68, 0.3), (0.66, 0.12), 0.045, METAL)
    pen.limb((0.58, 0.1), (0.74, 0.13), 0.055, TYRE)
    pen.disc(*pedal, 0.05, 0.07, METAL)
    return aspect


def motorbike(pen: Pen) -> float:
    """Draw a motorbike: two thick wheels, tank, engine, exhaust."""
    paint = pen.pick((200, 25, 30), (25, 60, 170), (20, 20, 22), (240, 130, 15))
    aspect = 1.6
    for x in (0.2, 0.8):
        pen.disc(x, 0.72, 0.27 / aspect, 0.27, TYRE)
        pen.disc(x, 0.72, 0.15 / aspect, 0.15, METAL, False)
        pen.disc(x, 0.72, 0.06 / aspect, 0.06, TYRE, False)
    pen.poly([(0.36, 0.5), (0.62, 0.5), (0.6, 0.82), (0.38, 0.82)], (85, 88, 92))
    for k in range(3):
        pen.limb((0.38, 0.58 + 0.08 * k), (0.6, 0.58 + 0.08 * k), 0.025, METAL)
    pen.limb((0.4, 0.82), (0.06, 0.88), 0.09, METAL, 0.11)
    pen.limb((0.74, 0.28), (0.8, 0.72), 0.06, METAL)
    pen.poly([(0.0, 0.5), (0.12, 0.36), (0.4, 0.42), (0.46, 0.54), (0.2, 0.56)], TYRE)
    pen.poly([(0.38, 0.45), (0.46, 0.28), (0.64, 0.26), (0.72, 0.42), (0.6, 0.54), (0.42, 0.54)], paint)
    pen.poly([(0.0, 0.44), (0.1, 0.38), (0.2, 0.5), (0.1, 0.52)], paint)
    pen.limb((0.62, 0.2), (0.78, 0.26), 0.05, TYRE)
    pen.disc(0.8, 0.34, 0.05, 0.075, (250, 240, 170))
    pen.poly([(0.7, 0.44), (0.86, 0.4), (0.95, 0.52), (0.78, 0.47)], paint)
    return aspect


def boat(pen: Pen) -> float:
    """Draw a sailing boat or a small motor ship."""
    hull = pen.pick((190, 45, 40), (40, 70, 140), (245, 245, 245), (120, 75, 40))
    sail = pen.pick((250, 248, 240), (250, 225, 150), (225, 90, 70), spread=8)
    if pen.vary(0, 1) < 0.6:
        pen.limb((0.5, 0.02), (0.5, 0.8), 0.025, (95, 65, 40))
        pen.poly([(0.53, 0.04), (0.93, 0.66), (0.53, 0.7)], sail)
        pen.poly([(0.47, 0.1), (0.47, 0.7), (0.14, 0.68)], pen.shade(sail, 0.88))
        deck, aspect = 0.76, pen.vary(0.85, 1.05)
    else:
        pen.rect(0.3, 0.36, 0.7, 0.66, (245, 245, 245))
        pen.rect(0.36, 0.44, 0.64, 0.53, (60, 90, 120), False)
        pen.rect(0.5, 0.1, 0.6, 0.38, hull if hull[0] < 240 else (200, 60, 40))
        pen.rect(0.5, 0.08, 0.6, 0.16, TYRE, False)
        deck, aspect = 0.62, 1.6
    pen.poly([(0.0, deck), (1.0, deck - 0.03), (0.86, 0.98), (0.14, 0.98)], hull)
    pen.poly(
        [(0.0, deck), (1.0, deck - 0.03), (0.98, deck + 0.04), (0.02, deck + 0.06)],
        pen.shade(hull, 0.6),
        False,
    )
    return aspect


def bus(pen: Pen) -> float:
    """Draw a bus: tall box, one long row of windows, door."""
    paint = pen.pick((215, 40, 40), (245, 195, 40), (60, 140, 90), (50, 90, 180))
    double = pen.vary(0, 1) < 0.25
    aspect = 1.3 if double else 1.75
    r = 0.11 if double else 0.14
    pen.poly([(0.0, 0.08), (0.04, 0.02), (0.97, 0.02), (1.0, 0.1), (1.0, 0.88), (0.0, 0.88)], paint)
    rows = (0.1, 0.46) if double else (0.16,)
    height = 0.2 if double else 0.32
    for y in rows:
        for k in range(5):
            pen.rect(0.05 + 0.15 * k, y, 0.175 + 0.15 * k, y + height, GLASS, False)
        pen.rect(0.86, y, 0.99, y + height + 0.05, (120, 170, 205), False)
    pen.rect(0.0, 0.68, 1.0, 0.73, (245, 245, 240), False)
    pen.rect(0.66, 0.55, 0.76, 0.87, pen.shade(paint, 0.55), False)
    pen.disc(0.96, 0.8, 0.025, 0.04, (255, 245, 180), False)
    for x in (0.22, 0.82):
        _wheel(pen, x, 0.87, r, aspect)
    return aspect


def car(pen: Pen) -> float:
    """Draw a car: low body, cabin with two windows."""
    paint = pen.pick((205, 30, 35), (35, 80, 175), (190, 195, 200), (35, 120, 70), (35, 35, 40), (240, 240, 240))
    aspect = pen.vary(1.9, 2.3)
    pen.poly([(0.2, 0.45), (0.32, 0.08), (0.66, 0.08), (0.82, 0.45)], paint)
    pen.poly([(0.25, 0.43), (0.345, 0.15), (0.48, 0.15), (0.48, 0.43)], GLASS, False)
    pen.poly([(0.51, 0.43), (0.51, 0.15), (0.64, 0.15), (0.76, 0.43)], GLASS, False)
    pen.poly(
        [(0.0, 0.5), (0.06, 0.43), (0.22, 0.4), (0.82, 0.4), (0.97, 0.48), (1.0, 0.8), (0.0, 0.8)],
        paint,
    )
    pen.rect(0.0, 0.7, 1.0, 0.8, pen.shade(paint, 0.65), False)
    pen.disc(0.96, 0.57, 0.035, 0.06, (255, 245, 190), False)
    pen.disc(0.03, 0.57, 0.025, 0.05, (230, 50, 40), False)
    pen.limb((0.5, 0.5), (0.56, 0.5), 0.03, pen.shade(paint, 0.5))
    for x in (0.22, 0.78):
        _wheel(pen, x, 0.79, 0.2, aspect)
    return aspect


def train(pen: Pen) -> float:
    """Draw a train: locomotive and a carriage on rails; sometimes a steam engine."""
    paint = pen.pick((30, 90, 60), (175, 35, 40), (40, 60, 120), (230, 170, 40))
    pen.rect(0.0, 0.93, 1.0, 0.97, (110, 100, 95))
    if pen.vary(0, 1) < 0.45:
        pen.rect(0.0, 0.22, 0.26, 0.8, paint)
        pen.rect(0.05, 0.3, 0.2, 0.5, GLASS, False)
        pen.rect(0.24, 0.4, 0.86, 0.76, TYRE)
        pen.disc(0.87, 0.58, 0.05, 0.18, (70, 70, 75))
        pen.poly([(0.7, 0.42), (0.68, 0.12), (0.82, 0.12), (0.8, 0.42)], TYRE)
        pen.disc(0.46, 0.38, 0.07, 0.1, (200, 160, 60))
        pen.disc(0.75, 0.06, 0.1, 0.06, (215, 215, 220))
        pen.poly([(0.84, 0.76), (0.98, 0.92), (0.84, 0.92)], paint)
        aspect = 1.9
        for x in (0.12, 0.36, 0.54, 0.72):
            pen.disc(x, 0.82, 0.12 / aspect, 0.12, paint)
            pen.disc(x, 0.82, 0.05 / aspect, 0.05, METAL, False)
        return aspect
    aspect = pen.vary(2.3, 2.9)
    pen.poly([(0.0, 0.16), (0.72, 0.16), (0.9, 0.3), (1.0, 0.66), (1.0, 0.86), (0.0, 0.86)], paint)
    pen.rect(0.0, 0.62, 0.99, 0.7, (245, 245, 240), False)
    for k in range(5):
        pen.rect(0.03 + 0.13 * k, 0.28, 0.12 + 0.13 * k, 0.52, GLASS, False)
    pen.poly([(0.74, 0.26), (0.86, 0.34), (0.92, 0.54), (0.74, 0.54)], (60, 90, 120), False)
    pen.rect(0.335, 0.14, 0.35, 0.88, TYRE, False)
    pen.limb((0.2, 0.16), (0.26, 0.02), 0.02, METAL)
    pen.limb((0.16, 0.02), (0.36, 0.02), 0.03, METAL)
    for x in (0.08, 0.2, 0.46, 0.58, 0.78, 0.9):
        pen.disc(x, 0.88, 0.07 / aspect * 1.1, 0.07, TYRE)
    return aspect
