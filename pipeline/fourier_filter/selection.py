"""Choosing images by score under a budget (web_wilss.md 6.8, Selection)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Rule = Literal["threshold", "topk", "threshold_then_topk"]


def select(scores: Sequence[float], budget: int, rule: Rule, names: Sequence[str] | None = None) -> list[int]:
    """Return the chosen indices, best score first, ties by name (or index).

    threshold: score > 0, then the first `budget`; topk: the best `budget`; threshold_then_topk: as threshold,
    filled up with the next best if fewer pass.
    """
    if rule not in ("threshold", "topk", "threshold_then_topk"):
        raise ValueError(f"unknown selection rule `{rule}`; use threshold, topk or threshold_then_topk")
    tie = names if names is not None else [f"{i:012d}" for i in range(len(scores))]
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], tie[i]))
    if rule == "threshold":
        order = [i for i in order if scores[i] > 0]
    return order[:budget]


def reason_for(score: float, kept: bool) -> str:
    """Return why a candidate was kept or not: `filled` marks one below the threshold that filled the budget."""
    if kept:
        return "" if score > 0 else "filled"
    return "over_budget" if score > 0 else "below_threshold"
