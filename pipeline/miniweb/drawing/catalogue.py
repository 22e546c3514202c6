"""The classes: names, drawing functions, typical settings, sizes, and who appears with whom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.miniweb.drawing import animals, household, vehicles
from pipeline.miniweb.drawing.pen import Pen

CLASS_NAMES: tuple[str, ...] = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """How a class is drawn: its function, settings (likeliest first), area range and companions."""

    draw: Callable[[Pen], float]
    settings: tuple[str, ...]
    area: tuple[float, float]
    companions: tuple[int, ...]
    turn: float = 0.05


KINDS: dict[int, Kind] = {
    1: Kind(vehicles.aeroplane, ("sky", "sky", "sky", "street"), (0.10, 0.45), (15, 7), 0.25),
    2: Kind(vehicles.bicycle, ("street", "street", "grass", "room"), (0.14, 0.45), (15, 15, 7), 0.06),
    3: Kind(animals.bird, ("sky", "grass", "sea", "field"), (0.10, 0.40), (15, 4), 0.15),
    4: Kind(vehicles.boat, ("sea", "sea", "sea", "sky"), (0.12, 0.45), (15, 3), 0.08),
    5: Kind(household.bottle, ("room", "studio", "room"), (0.09, 0.28), (11, 15, 9), 0.1),
    6: Kind(vehicles.bus, ("street", "street", "field"), (0.2, 0.5), (15, 7), 0.03),
    7: Kind(vehicles.car, ("street", "street", "grass", "field"), (0.14, 0.45), (15, 6), 0.04),
    8: Kind(animals.cat, ("room", "room", "grass", "studio"), (0.14, 0.42), (18, 9, 20), 0.06),
    9: Kind(household.chair, ("room", "room", "studio"), (0.12, 0.36), (11, 11, 15), 0.04),
    10: Kind(animals.cow, ("grass", "field", "grass"), (0.16, 0.45), (15, 13), 0.04),
    11: Kind(household.diningtable, ("room", "room", "studio"), (0.18, 0.48), (9, 5, 15), 0.03),
    12: Kind(animals.dog, ("grass", "room", "street", "field"), (0.13, 0.42), (15, 18), 0.06),
    13: Kind(animals.horse, ("grass", "field", "grass"), (0.16, 0.46), (15, 15), 0.05),
    14: Kind(vehicles.motorbike, ("street", "street", "field"), (0.16, 0.46), (15, 15, 7), 0.06),
    15: Kind(animals.person, ("street", "room", "grass", "field", "sea"), (0.11, 0.3), (12, 2, 9, 7), 0.07),
    16: Kind(household.pottedplant, ("room", "room", "studio", "street"), (0.12, 0.38), (18, 9, 15), 0.05),
    17: Kind(animals.sheep, ("grass", "field", "grass"), (0.14, 0.42), (15, 12), 0.05),
    18: Kind(household.sofa, ("room", "room", "studio"), (0.2, 0.5), (20, 8, 15), 0.02),
    19: Kind(vehicles.train, ("field", "street", "grass"), (0.18, 0.5), (15,), 0.02),
    20: Kind(household.tvmonitor, ("room", "room", "studio"), (0.12, 0.4), (18, 15, 9), 0.03),
}

# Share of images with one, two and three classes, near VOC's 64, 27 and 9 percent.
_MANY = (0.62, 0.28, 0.10)


def sample_class_ids(rng: np.random.Generator, main_class: int | None = None) -> list[int]:
    """Return one to three distinct class ids of a plausible image; the main class comes first."""
    main = int(rng.integers(1, 21)) if main_class is None else main_class
    chosen = [main]
    extra = int(rng.choice(3, p=_MANY))
    for _ in range(extra):
        pool = [c for c in (*KINDS[main].companions, 15) if c not in chosen]
        if pool:
            chosen.append(int(pool[int(rng.integers(len(pool)))]))
    return chosen
