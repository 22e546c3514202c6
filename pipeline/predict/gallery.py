"""The gallery: one page that needs nothing beside itself."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader
from PIL import Image

from pipeline.predict.areas import AreaRow
from pipeline.predict.pictures import colour, encoded

if TYPE_CHECKING:
    from pipeline.predict.network import Model

SIDE = 480
"""Longer side of a picture in the page."""


@dataclass(frozen=True)
class Shot:
    """One image in the page."""

    name: str
    picture: str
    """A data address."""
    target: str
    """The overlay's file, relative to the page."""
    text: str
    """What it shows, in words."""
    rows: Sequence[AreaRow]
    """Its classes without the background, the largest first."""


def shot(name: str, stem: str, picture: Image.Image, rows: Sequence[AreaRow], background: int | None) -> Shot:
    """Return an image's entry from what `blend` made of it and its rows; the page's own list is its legend."""
    small = picture.copy()
    small.thumbnail((SIDE, SIDE))
    data = base64.b64encode(encoded(small, "JPEG")).decode()
    shown = sorted((row for row in rows if row.class_id != background), key=lambda row: -float(row.share))
    found = ", ".join(f"{row.class_name} {100 * float(row.share):.1f} %" for row in shown) or "no class found"
    target = quote(f"overlays/{stem}.jpg")
    return Shot(name, f"data:image/jpeg;base64,{data}", target, f"{name}: {found}", shown)


def page(model: Model, shots: Sequence[Shot], rows: Sequence[AreaRow], more: int) -> str:
    """Return the gallery as HTML; `more` images were segmented and are not shown."""
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    environment.filters["hex"] = lambda value: "#{:02x}{:02x}{:02x}".format(*colour(int(value)))
    environment.filters["percent"] = lambda value: f"{100 * float(value):.1f} %"
    pixels: dict[int | str, int] = {}
    for row in rows:
        if row.status == "done":
            pixels[row.class_id] = pixels.get(row.class_id, 0) + int(row.pixels)
    classes = [(i, name, pixels[i]) for i, name in enumerate(model.class_names) if i in pixels]
    return environment.get_template("page.html").render(
        model=model,
        shots=shots,
        more=more,
        classes=classes,
        total=sum(pixels.values()),
        done=len({row.image for row in rows if row.status == "done"}),
        failures=[row for row in rows if row.status == "failed"],
        skipped=sum(row.status == "skipped" for row in rows),
    )
