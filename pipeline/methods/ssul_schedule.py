"""SSUL's learning-rate schedules, the same at step 0 and later (ciss_methods.md 5)."""

from __future__ import annotations

from typing import Literal

Schedule = Literal["poly", "warm_poly"]
WARM_SHARE = 0.1
LR_FLOOR = 1e-6


def warm_share(schedule: Schedule) -> float:
    """Return over which share of a step the rate rises: a tenth under `warm_poly` (ADE), else 0."""
    return WARM_SHARE if schedule == "warm_poly" else 0.0


def lr_floor(schedule: Schedule) -> float:
    """Return the rate below which no group falls: 1e-6 under `poly` (VOC), else 0."""
    return LR_FLOOR if schedule == "poly" else 0.0
