"""Furniture, bottles, plants and screens."""

from __future__ import annotations

import math

from pipeline.miniweb.drawing.pen import Colour, Pen

WOOD: Colour = (150, 100, 60)


def bottle(pen: Pen) -> float:
    """Draw a bottle with a label and a cap; return its aspect."""
    glass = pen.pick((40, 120, 60), (110, 60, 25), (90, 160, 210), (150, 25, 40))
    label = pen.pick((245, 240, 225), (235, 200, 80), (220, 60, 50))
    pen.poly(
        [
            (0.38, 0.05), (0.62, 0.05), (0.63, 0.26), (0.92, 0.42), (0.95, 0.52), (0.95, 0.96), (0.88, 1.0),
            (0.12, 1.0), (0.05, 0.96), (0.05, 0.52), (0.08, 0.42), (0.37, 0.26),
        ],
        glass,
    )  # fmt: skip
    pen.rect(0.05, 0.56, 0.95, 0.82, label)
    pen.rect(0.15, 0.64, 0.85, 0.67, pen.shade(label, 0.5), False)
    pen.rect(0.15, 0.71, 0.65, 0.74, pen.shade(label, 0.5), False)
    pen.rect(0.34, 0.0, 0.66, 0.08, pen.pick((200, 40, 40), (220, 180, 60), (40, 40, 45)))
    pen.limb((0.2, 0.45), (0.18, 0.55), 0.08, pen.shade(glass, 1.6))
    return pen.vary(0.3, 0.4)


def chair(pen: Pen) -> float:
    """Draw a chair: slatted back, seat, four legs."""
    wood = pen.pick(WOOD, (205, 150, 90), (90, 55, 35), (190, 45, 40), (60, 110, 160))
    dark = pen.shade(wood, 0.7)
    for x in (0.3, 0.86):
        pen.limb((x, 0.55), (x + 0.01, 0.9), 0.07, dark)
    for x in (0.14, 0.22 + 0.36):
        pen.limb((x, 0.02), (x, 0.6), 0.08, wood)
    for k in range(3):
        pen.limb((0.14, 0.09 + 0.14 * k), (0.58, 0.09 + 0.14 * k), 0.07, wood)
    pen.poly([(0.08, 0.6), (0.26, 0.5), (0.96, 0.5), (0.82, 0.6)], pen.shade(wood, 1.15))
    pen.poly([(0.08, 0.6), (0.82, 0.6), (0.82, 0.66), (0.08, 0.66)], dark)
    for x in (0.13, 0.76):
        pen.limb((x, 0.62), (x - 0.01, 1.0), 0.085, wood)
    return pen.vary(0.62, 0.75)


def diningtable(pen: Pen) -> float:
    """Draw a dining table: wide top in perspective, legs, plates and a bowl of fruit."""
    wood = pen.pick(WOOD, (190, 140, 85), (100, 60, 38))
    cloth = pen.pick((240, 235, 225), (200, 60, 60), (90, 140, 190)) if pen.vary(0, 1) < 0.45 else wood
    for x in (0.12, 0.88):
        pen.limb((x, 0.4), (x, 1.0), 0.06, pen.shade(wood, 0.75))
    for x in (0.26, 0.74):
        pen.limb((x, 0.4), (x, 0.82), 0.045, pen.shade(wood, 0.6))
    pen.poly([(0.16, 0.2), (0.84, 0.2), (1.0, 0.44), (0.0, 0.44)], cloth)
    pen.poly([(0.0, 0.44), (1.0, 0.44), (1.0, 0.54), (0.0, 0.54)], pen.shade(cloth, 0.72))
    for x, y in ((0.25, 0.36), (0.75, 0.36), (0.33, 0.25), (0.67, 0.25)):
        pen.disc(x, y, 0.075, 0.045, (250, 250, 250))
        pen.disc(x, y, 0.04, 0.022, (215, 215, 220), False)
    for k in range(4):
        pen.disc(0.44 + 0.04 * k, 0.2 - 0.03 * (k % 2), 0.035, 0.06, pen.pick((220, 50, 40), (240, 180, 40)), False)
    pen.poly([(0.38, 0.21), (0.62, 0.21), (0.56, 0.32), (0.44, 0.32)], pen.pick((70, 110, 170), (230, 230, 235)))
    return pen.vary(1.6, 2.0)


def pottedplant(pen: Pen) -> float:
    """Draw a potted plant: terracotta pot and leaves."""
    leaf = pen.pick((40, 130, 55), (70, 160, 60), (30, 100, 60))
    pot = pen.pick((190, 95, 55), (205, 120, 75), (225, 220, 210), spread=10)
    flower = pen.pick((230, 60, 90), (245, 200, 50), (170, 80, 200))
    blooming = pen.vary(0, 1) < 0.35
    for k in range(11):
        angle = -math.pi / 2 + (k - 5) * 0.27 + pen.vary(-0.08, 0.08)
        reach = pen.vary(0.36, 0.56)
        tip = (0.5 + 0.85 * reach * math.cos(angle), 0.62 + reach * math.sin(angle) * 1.1)
        middle = (0.5 + 0.5 * (tip[0] - 0.5), 0.62 + 0.6 * (tip[1] - 0.62))
        pen.limb((0.5, 0.64), tip, 0.03, pen.shade(leaf, 0.6))
        tilt = math.atan2(tip[1] - 0.62, tip[0] - 0.5)
        pen.disc(
            (middle[0] + tip[0]) / 2, (middle[1] + tip[1]) / 2, 0.15, 0.07, pen.shade(leaf, pen.vary(0.75, 1.25)),
            tilt=tilt,
        )  # fmt: skip
        if blooming and k % 2:
            pen.disc(*tip, 0.07, 0.055, flower)
    pen.poly([(0.24, 0.64), (0.76, 0.64), (0.67, 1.0), (0.33, 1.0)], pot)
    pen.rect(0.2, 0.6, 0.8, 0.69, pen.shade(pot, 1.12))
    return pen.vary(0.68, 0.82)


def sofa(pen: Pen) -> float:
    """Draw a sofa: low and wide, back, arms, cushions."""
    cloth = pen.pick((150, 60, 60), (80, 110, 150), (190, 170, 140), (90, 130, 90), (110, 80, 130))
    dark, light = pen.shade(cloth, 0.75), pen.shade(cloth, 1.2)
    for x in (0.08, 0.9):
        pen.rect(x, 0.9, x + 0.03, 1.0, (60, 40, 30))
    pen.poly([(0.06, 0.1), (0.12, 0.02), (0.88, 0.02), (0.94, 0.1), (0.94, 0.6), (0.06, 0.6)], cloth)
    seats = 2 if pen.vary(0, 1) < 0.5 else 3
    for k in range(seats):
        a, b = 0.12 + 0.76 * k / seats, 0.12 + 0.76 * (k + 1) / seats
        pen.rect(a + 0.01, 0.1, b - 0.01, 0.5, light)
        pen.rect(a, 0.5, b, 0.72, pen.shade(cloth, 1.08))
    pen.rect(0.1, 0.72, 0.9, 0.92, dark)
    for x in (0.0, 0.86):
        pen.rect(x, 0.4, x + 0.14, 0.92, cloth)
        pen.disc(x + 0.07, 0.4, 0.075, 0.09, light)
    if pen.vary(0, 1) < 0.6:
        c = pen.pick((240, 200, 70), (240, 240, 235), (220, 90, 80))
        pen.poly([(0.18, 0.36), (0.33, 0.32), (0.35, 0.56), (0.2, 0.58)], c)
    return pen.vary(1.8, 2.2)


def tvmonitor(pen: Pen) -> float:
    """Draw a screen: dark frame, bright picture, stand."""
    frame = pen.pick((25, 25, 28), (60, 60, 65), (30, 30, 35), spread=8)
    sky = pen.pick((70, 140, 220), (90, 200, 220), (230, 150, 90), (60, 70, 150))
    pen.rect(0.44, 0.78, 0.56, 0.95, frame)
    pen.poly([(0.28, 1.0), (0.34, 0.93), (0.66, 0.93), (0.72, 1.0)], frame)
    pen.rect(0.0, 0.0, 1.0, 0.82, frame)
    pen.rect(0.05, 0.06, 0.95, 0.74, sky, False)
    kind = pen.vary(0, 1)
    if kind < 0.5:
        hill = pen.pick((60, 150, 70), (200, 180, 110))
        pen.poly(
            [(0.05, 0.6), (0.3, 0.4), (0.55, 0.58), (0.8, 0.36), (0.95, 0.5), (0.95, 0.74), (0.05, 0.74)],
            hill,
        )
        pen.disc(0.75, 0.2, 0.07, 0.09, (250, 240, 150), False)
    else:
        for k in range(4):
            pen.rect(0.12, 0.14 + 0.14 * k, pen.vary(0.45, 0.88), 0.2 + 0.14 * k, (240, 245, 250), False)
    pen.poly([(0.05, 0.06), (0.3, 0.06), (0.12, 0.5), (0.05, 0.5)], pen.shade(sky, 1.25), False)
    pen.disc(0.92, 0.78, 0.015, 0.02, (60, 220, 90), False)
    return pen.vary(1.25, 1.5)
