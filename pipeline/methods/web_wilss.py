"""Web-WILSS (ECCV 2024): WILSON on filtered web images, with web replay of the old classes.

What the paper adds lives in the data (web_wilss.md 5 and 6): the noun and Fourier filters choose the
new-class images, caption queries bring back images of the old classes. Replay images enter every loss of
WILSON; their labels name old classes, so they are negatives of every new class (5.4).

The one method that subclasses another: the paper changes WILSON's data and none of its losses, so that whatever is
changed in WILSON must change here.
"""

from __future__ import annotations

from typing import Any

from pipeline.methods import register
from pipeline.methods.wilson import Wilson, WilsonSettings


class WebWilssSettings(WilsonSettings):
    """WILSON's settings; the paper uses alpha 0.5 everywhere (web_wilss.md 7.3)."""


@register
class WebWilss(Wilson):
    """WILSON's losses on web images and replay.

    Source: Web-WILSS (ECCV 2024); web_wilss.md 4.2, 5.4 and 6.
    """

    name = "web_wilss"
    title = "Web-WILSS"
    Settings = WebWilssSettings

    @classmethod
    def published(cls, dataset: str, task: str, backbone: str) -> dict[str, Any]:
        """Return the localizer's published width."""
        return {} if backbone.startswith("small_") else {"localizer_width": 256}
