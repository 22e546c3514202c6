"""Replay selection, pseudo-labels and training lists. `python -m pipeline.pseudolabel --help`."""

from __future__ import annotations

from typing import Any

STAGE_VERSION = 1

_PUBLIC = {
    "pseudolabel": "pipeline.pseudolabel.label",
    "select_replay": "pipeline.pseudolabel.replay",
    "write_train_list": "pipeline.pseudolabel.listing",
}


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        import importlib

        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(name)
