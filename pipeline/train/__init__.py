"""Training of one step: engine, models, losses and methods. `python -m pipeline.train --help`."""

from __future__ import annotations

from typing import Any

STAGE_VERSION = 1


def __getattr__(name: str) -> Any:
    if name == "train_step":
        from pipeline.train.engine import train_step

        return train_step
    raise AttributeError(name)
