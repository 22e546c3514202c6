"""Animals and people."""

from __future__ import annotations

import math

from pipeline.miniweb.drawing.pen import Colour, Pen

EYE: Colour = (20, 20, 20)


def _legs(pen: Pen, xs: list[float], top: float, width: float, colour: Colour) -> None:
    for index, x in enumerate(xs):
        shade = colour if index % 2 else pen.shade(colour, 0.75)
        foot = x + pen.vary(-0.03, 0.03)
        pen.limb((x, top), (foot, 0.99), width, shade, width * 0.75)


def bird(pen: Pen) -> float:
    """Draw a bird; return its aspect (width / height)."""
    body = pen.pick((200, 40, 40), (50, 90, 200), (235, 190, 40), (240, 240, 245), (90, 70, 60))
    wing, beak = pen.shade(body, 0.6), pen.pick((245, 150, 20))
    if pen.vary(0, 1) < 0.4:
        lift = pen.vary(0.0, 0.25)
        pen.poly([(0.42, 0.55), (0.15, 0.05 + lift), (0.6, 0.5)], wing)
        pen.poly([(0.05, 0.5), (0.32, 0.5), (0.3, 0.68), (0.02, 0.72)], wing)
        pen.disc(0.5, 0.58, 0.28, 0.15, body)
        pen.poly([(0.45, 0.55), (0.62, 0.02 + lift), (0.7, 0.52)], pen.shade(body, 0.8))
        pen.disc(0.78, 0.5, 0.12, 0.12, body)
        pen.poly([(0.88, 0.46), (1.0, 0.52), (0.88, 0.55)], beak)
        pen.disc(0.81, 0.47, 0.02, 0.025, EYE, False)
        return 1.6
    pen.limb((0.48, 0.8), (0.48, 0.98), 0.03, beak)
    pen.limb((0.58, 0.8), (0.58, 0.98), 0.03, beak)
    pen.poly([(0.3, 0.6), (0.0, 0.78), (0.05, 0.9), (0.4, 0.75)], wing)
    pen.disc(0.5, 0.6, 0.28, 0.24, body, tilt=-0.4)
    pen.disc(0.72, 0.28, 0.17, 0.18, body)
    pen.disc(0.42, 0.62, 0.2, 0.13, wing, tilt=-0.5)
    pen.poly([(0.86, 0.22), (1.0, 0.3), (0.86, 0.36)], beak)
    pen.disc(0.77, 0.24, 0.03, 0.03, EYE, False)
    return 1.05


def cat(pen: Pen) -> float:
    """Draw a cat: pointed ears, curled tail, whiskers."""
    fur = pen.pick((235, 145, 50), (110, 110, 115), (35, 35, 38), (225, 210, 190))
    stripe, inner = pen.shade(fur, 0.62), (235, 160, 160)
    sitting = pen.vary(0, 1) < 0.6
    if sitting:
        pen.limb((0.75, 0.9), (0.98, 0.7), 0.09, fur)
        pen.limb((0.96, 0.74), (0.9, 0.45), 0.09, fur, 0.06)
        pen.disc(0.52, 0.74, 0.29, 0.26, fur)
        pen.limb((0.38, 0.65), (0.36, 0.98), 0.13, pen.shade(fur, 1.12))
        pen.limb((0.58, 0.65), (0.58, 0.98), 0.13, pen.shade(fur, 1.12))
        x, y, r, aspect = 0.45, 0.32, 0.24, 0.80
    else:
        pen.limb((0.85, 0.5), (0.98, 0.12), 0.07, fur, 0.05)
        _legs(pen, [0.3, 0.4, 0.75, 0.84], 0.65, 0.07, fur)
        pen.disc(0.57, 0.56, 0.33, 0.2, fur)
        x, y, r, aspect = 0.2, 0.36, 0.19, 1.5
    for k in range(3):
        pen.limb((x + 0.2 + 0.09 * k, 0.5), (x + 0.2 + 0.09 * k, 0.62), 0.025, stripe)
    for side in (-1, 1):
        pen.poly(
            [
                (x + side * r * 0.95, y - r * 1.25),
                (x + side * r * 0.2, y - r * 0.7),
                (x + side * r * 0.95, y),
            ],
            fur,
        )
        tip = (x + side * r * 0.85, y - r * 0.95)
        pen.poly([tip, (x + side * r * 0.4, y - r * 0.62), (x + side * r * 0.82, y - r * 0.3)], inner, False)
    pen.disc(x, y, r, r * 0.82, fur)
    for side in (-1, 1):
        pen.disc(x + side * r * 0.42, y - r * 0.12, r * 0.2, r * 0.2, (140, 200, 60), False)
        pen.disc(x + side * r * 0.42, y - r * 0.12, r * 0.07, r * 0.19, EYE, False)
        for slope in (0.25, 0.42):
            pen.limb((x + side * r * 0.2, y + r * 0.32), (x + side * r * 1.2, y + r * slope), 0.012, (245, 245, 245))
    pen.poly([(x - r * 0.12, y + r * 0.2), (x + r * 0.12, y + r * 0.2), (x, y + r * 0.36)], inner, False)
    return aspect


def dog(pen: Pen) -> float:
    """Draw a dog: hanging ears, long snout, collar."""
    fur = pen.pick((150, 95, 50), (215, 175, 115), (70, 50, 40), (240, 235, 225))
    ear, snout = pen.shade(fur, 0.55), pen.shade(fur, 1.15)
    collar = pen.pick((210, 30, 30), (30, 80, 210), spread=10)
    if pen.vary(0, 1) < 0.5:
        pen.limb((0.9, 0.45), (1.0, 0.2), 0.06, fur, 0.035)
        _legs(pen, [0.38, 0.46, 0.8, 0.88], 0.6, 0.08, fur)
        pen.disc(0.64, 0.54, 0.29, 0.17, fur)
        pen.limb((0.42, 0.55), (0.3, 0.3), 0.2, fur, 0.17)
        x, y, r, aspect = 0.27, 0.25, 0.15, 1.35
        pen.limb((0.31, 0.47), (0.44, 0.4), 0.05, collar)
    else:
        pen.limb((0.75, 0.9), (0.97, 0.75), 0.07, fur, 0.04)
        pen.disc(0.6, 0.76, 0.25, 0.23, fur)
        pen.limb((0.5, 0.45), (0.45, 0.98), 0.17, snout, 0.12)
        pen.limb((0.62, 0.5), (0.6, 0.98), 0.13, fur, 0.1)
        x, y, r, aspect = 0.47, 0.25, 0.2, 0.78
        pen.limb((0.36, 0.47), (0.66, 0.47), 0.06, collar)
    pen.disc(x, y, r, r * 0.95, fur)
    pen.disc(x - r * 0.95, y + r * 0.35, r * 0.75, r * 0.42, snout)
    pen.disc(x - r * 1.5, y + r * 0.25, r * 0.22, r * 0.2, EYE, False)
    pen.disc(x - r * 0.3, y - r * 0.2, r * 0.14, r * 0.14, EYE, False)
    pen.disc(x + r * 0.55, y + r * 0.3, r * 0.36, r * 0.85, ear, tilt=-0.25)
    if pen.vary(0, 1) < 0.5:
        pen.disc(x - r * 1.0, y + r * 0.85, r * 0.17, r * 0.35, (225, 90, 110), False)
    return aspect


def cow(pen: Pen) -> float:
    """Draw a cow: patched rectangle body, horns, udder."""
    hide = pen.pick((245, 243, 238), (245, 243, 238), (150, 85, 45), spread=8)
    patch = (35, 30, 30) if hide[0] > 200 else (240, 235, 225)
    pen.limb((0.97, 0.35), (0.99, 0.7), 0.025, pen.shade(hide, 0.7), 0.04)
    _legs(pen, [0.36, 0.45, 0.82, 0.9], 0.65, 0.08, hide)
    pen.disc(0.75, 0.7, 0.08, 0.08, (240, 170, 170))
    pen.poly([(0.28, 0.32), (0.94, 0.28), (0.98, 0.62), (0.86, 0.72), (0.36, 0.72), (0.28, 0.6)], hide)
    for _ in range(4):
        x, y = pen.vary(0.38, 0.88), pen.vary(0.38, 0.62)
        pen.disc(x, y, pen.vary(0.05, 0.1), pen.vary(0.06, 0.1), patch, False, pen.vary(0, 3))
    down = pen.vary(0.0, 0.2)
    pen.limb((0.34, 0.42), (0.18, 0.34 + down), 0.2, hide, 0.2)
    pen.limb((0.11, 0.2 + down), (0.04, 0.1 + down), 0.03, (215, 205, 170), 0.015)
    pen.limb((0.24, 0.2 + down), (0.3, 0.1 + down), 0.03, (215, 205, 170), 0.015)
    pen.disc(0.3, 0.28 + down, 0.06, 0.035, patch)
    pen.poly([(0.1, 0.19 + down), (0.26, 0.19 + down), (0.22, 0.5 + down), (0.1, 0.5 + down)], hide)
    pen.disc(0.15, 0.5 + down, 0.08, 0.07, (235, 165, 165))
    pen.disc(0.16, 0.3 + down, 0.018, 0.025, EYE, False)
    return 1.55


def horse(pen: Pen) -> float:
    """Draw a horse: long neck, mane, flowing tail."""
    coat = pen.pick((120, 65, 35), (75, 45, 30), (175, 115, 65), (215, 210, 205))
    mane = (35, 25, 20) if coat[0] > 100 else (200, 180, 140)
    pen.limb((0.93, 0.42), (1.0, 0.85), 0.07, mane, 0.1)
    _legs(pen, [0.4, 0.48, 0.82, 0.9], 0.55, 0.07, coat)
    pen.disc(0.65, 0.5, 0.3, 0.15, coat)
    pen.poly([(0.36, 0.52), (0.52, 0.4), (0.34, 0.06), (0.2, 0.1)], coat)
    pen.poly([(0.35, 0.03), (0.42, 0.1), (0.6, 0.4), (0.5, 0.42)], mane)
    pen.poly([(0.34, 0.04), (0.22, 0.05), (0.02, 0.28), (0.07, 0.36), (0.26, 0.24)], coat)
    pen.poly([(0.28, 0.07), (0.3, -0.0), (0.34, 0.07)], coat)
    pen.disc(0.2, 0.15, 0.015, 0.02, EYE, False)
    pen.limb((0.08, 0.26), (0.11, 0.33), 0.02, pen.shade(coat, 0.5))
    return 1.15


def sheep(pen: Pen) -> float:
    """Draw a sheep: woolly outline, dark face."""
    wool = pen.pick((240, 236, 222), (225, 215, 195), spread=10)
    face = pen.pick((45, 40, 40), (60, 50, 48), spread=8)
    _legs(pen, [0.4, 0.48, 0.76, 0.84], 0.68, 0.055, face)
    for _ in range(26):
        angle, reach = pen.vary(0, 6.283), pen.vary(0.75, 1.0)
        x, y = 0.6 + 0.3 * reach * math.cos(angle), 0.48 + 0.24 * reach * math.sin(angle)
        pen.disc(x, y, 0.09, 0.11, pen.shade(wool, pen.vary(0.84, 1.05)), False)
    pen.disc(0.6, 0.48, 0.3, 0.24, wool, False)
    for _ in range(9):
        pen.disc(
            pen.vary(0.38, 0.82),
            pen.vary(0.32, 0.62),
            0.05,
            0.06,
            pen.shade(wool, pen.vary(0.86, 0.98)),
            False,
        )
    pen.disc(0.3, 0.3, 0.06, 0.035, face, tilt=0.5)
    pen.disc(0.2, 0.42, 0.13, 0.17, face, tilt=0.35)
    pen.disc(0.24, 0.27, 0.1, 0.08, wool, False)
    pen.disc(0.18, 0.38, 0.02, 0.025, (245, 245, 245), False)
    return 1.3


def person(pen: Pen) -> float:
    """Draw a person: head, hair, shirt, trousers; standing, walking or waving."""
    skin = pen.pick((240, 200, 170), (200, 145, 105), (120, 80, 55))
    shirt = pen.pick((200, 50, 60), (60, 110, 190), (70, 150, 80), (240, 200, 60), (150, 80, 160), (235, 235, 235))
    trousers = pen.pick((45, 55, 95), (60, 60, 65), (130, 105, 75))
    hair = pen.pick((40, 28, 20), (115, 70, 35), (225, 190, 100))
    stride, skirt = pen.vary(0.02, 0.16), pen.vary(0, 1) < 0.3
    if skirt:
        pen.limb((0.42, 0.7), (0.42 - stride / 2, 0.96), 0.1, skin)
        pen.limb((0.58, 0.7), (0.58 + stride / 2, 0.96), 0.1, skin)
        pen.poly([(0.36, 0.5), (0.64, 0.5), (0.78, 0.78), (0.22, 0.78)], trousers)
    else:
        pen.limb((0.43, 0.52), (0.42 - stride, 0.96), 0.17, trousers, 0.12)
        pen.limb((0.57, 0.52), (0.58 + stride, 0.96), 0.17, pen.shade(trousers, 0.85), 0.12)
    for side in (-1, 1):
        pen.disc(0.5 + side * (0.1 + stride), 0.97, 0.1, 0.025, (40, 35, 35))
    raised = pen.vary(0, 1) < 0.25
    for side in (-1, 1):
        elbow = (0.5 + side * pen.vary(0.3, 0.38), 0.38)
        hand = (0.5 + side * pen.vary(0.28, 0.44), 0.1 if raised and side > 0 else 0.54)
        pen.limb((0.5 + side * 0.2, 0.24), elbow, 0.13, pen.shade(shirt, 0.85), 0.1)
        pen.limb(elbow, hand, 0.09, skin, 0.07)
    pen.poly([(0.27, 0.22), (0.4, 0.18), (0.6, 0.18), (0.73, 0.22), (0.66, 0.55), (0.34, 0.55)], shirt)
    pen.rect(0.44, 0.14, 0.56, 0.2, skin, False)
    if skirt:
        pen.disc(0.5, 0.11, 0.2, 0.12, hair)
    pen.disc(0.5, 0.095, 0.15, 0.075, skin)
    pen.poly([(0.34, 0.09), (0.37, 0.03), (0.5, 0.0), (0.63, 0.03), (0.66, 0.09), (0.5, 0.055)], hair)
    for side in (-1, 1):
        pen.disc(0.5 + side * 0.06, 0.095, 0.018, 0.009, EYE, False)
    return 0.42
