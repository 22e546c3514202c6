"""Learning-rate factors per iteration (web_wilss.md 7.2, ciss_methods.md 5)."""

from __future__ import annotations

POWER = 0.9


def poly(iteration: int, total: int) -> float:
    """Return (1 - iteration / total)^0.9."""
    return (1 - iteration / total) ** POWER


def warmup_poly(iteration: int, total: int, start: int) -> float:
    """Return 1 before `start`, then the poly factor of the global iteration (no restart).

    The name follows the released option; it is a constant phase, not a warm-up.
    """
    return 1.0 if iteration < start else poly(iteration, total)


def warm_poly(iteration: int, total: int, warm: float, first: float = 1e-3) -> float:
    """Return SSUL's schedule for ADE20K: a linear rise from `first` over `warm` iterations times poly."""
    rise = min(1.0, iteration / warm)
    return (first * (1 - rise) + rise) * poly(iteration, total)
