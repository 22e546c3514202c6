"""Captioners: image in, one line of text out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from PIL import Image

from pipeline.config import Captioner as Settings


class Captioner(Protocol):
    """What a captioner offers."""

    model: str
    revision: str

    def caption(self, images: Sequence[Image.Image]) -> list[str]:
        """Return one line of text per RGB image."""
        ...


def build(settings: Settings) -> Captioner:
    """Return the captioner of the settings: any image-text-to-text model of the transformers library."""
    from pipeline.captioning.captioners.transformers_model import TransformersCaptioner

    return TransformersCaptioner(settings)
