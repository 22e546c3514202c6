"""Captioners: image in, one line of text out; or captions that someone has written already."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from pipeline.config import Captioner as Settings


@dataclass(frozen=True)
class Source:
    """An image to caption: its id, where it is, its size in pixels if known (0 if not), and the page's alt text."""

    image_id: str
    uri: str
    width: int = 0
    height: int = 0
    alt_text: str = ""


class Captioner(ABC):
    """A model that reads pixels. `prepare` may run in another thread while `generate` works on earlier images."""

    model: str = ""
    revision: str = ""
    """Commit hash of a hub model, digest of a local one."""

    def prepare(self, images: Sequence[Image.Image]) -> Any:
        """Return what `generate` takes for RGB images."""
        return list(images)

    @abstractmethod
    def generate(self, prepared: Any) -> list[str]:
        """Return one line of text per image."""

    def caption(self, images: Sequence[Image.Image]) -> list[str]:
        """Return one line of text per RGB image."""
        return self.generate(self.prepare(images))


class WrittenCaptions(ABC):
    """Captions that exist already; no pixel is read."""

    model: str = ""
    revision: str = ""

    @abstractmethod
    def look_up(self, source: Source) -> tuple[str, str]:
        """Return the caption and "", or "" and the reason why there is none."""


def build(settings: Settings) -> Captioner | WrittenCaptions:
    """Return the captioner of the settings. Raises ValueError if its model or table cannot be loaded."""
    if settings.kind == "transformers":
        from pipeline.captioning.captioners.transformers_model import TransformersCaptioner

        return TransformersCaptioner(settings)
    if settings.kind == "openflamingo":
        from pipeline.captioning.captioners.openflamingo import OpenFlamingoCaptioner

        return OpenFlamingoCaptioner(settings)
    if settings.kind == "labels":
        from pipeline.captioning.captioners.imagenet_labels import LabelsCaptioner

        return LabelsCaptioner(settings)
    from pipeline.captioning.captioners.written import AltText, CaptionTable

    return AltText() if settings.kind == "alt_text" else CaptionTable(settings)
