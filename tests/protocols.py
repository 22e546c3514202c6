"""Protocols that a test needs without a data set behind them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.datasets.protocol_file import Protocol, save_protocol

VOC = Protocol(
    dataset="voc",
    task="15-5",
    setting="overlap",
    step=0,
    classes_per_step=(tuple(range(16)), tuple(range(16, 21))),
    order=tuple(range(16)),
    class_names={c: str(c) for c in range(1, 21)},
    train=(),
    val=(),
)
"""Step 0 of VOC 15-5 without an image; class 7 is called `7`."""


def protocol_at(path: Path, **values: Any) -> Path:
    """Write VOC's protocol with other values and return its path."""
    save_protocol(path, replace(VOC, **values))
    return path
