"""Continual semantic segmentation from the web, as one staged pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.predict.loading import load_segmenter

__all__ = ["__version__", "load_segmenter"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Light commands import this package, too: torch is imported when a model is asked for.
    if name == "load_segmenter":
        from pipeline.predict.loading import load_segmenter

        return load_segmenter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
