"""Captions, nouns, class vocabulary and the noun filter. `python -m pipeline.captioning --help`."""

from __future__ import annotations

from typing import Any

STAGE_VERSION = 1

_PUBLIC = {
    "caption": "pipeline.captioning.captions",
    "extract_nouns": "pipeline.captioning.nouns",
    "filter_nouns": "pipeline.captioning.noun_filter",
    "Similarity": "pipeline.captioning.similarity",
    "Captioner": "pipeline.captioning.captioners",
}


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        import importlib

        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(name)
