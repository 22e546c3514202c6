"""Pictures of the page: predictions over validation images, kept and rejected web images."""

from __future__ import annotations

import base64
import io
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.artifacts import NEW_CLASSES, NOUN_FILTER, Layout, read_table
from pipeline.artifacts.rows import NewClassRow, NounFilterRow
from pipeline.config import Config
from pipeline.config.plans import has_images, strictest
from pipeline.datasets.images import open_image, open_mask
from pipeline.datasets.protocol_file import read_protocol
from pipeline.datasets.tasks import label_map
from pipeline.datasets.transforms import eval_geometry
from pipeline.eval.report.results import Results, label

Row = dict[str, Any]
PER_CELL = 5


def overlay_rows(results: Results) -> Row:
    """Return columns and rows of pictures: image, truth, base model and every run's prediction."""
    size, seed = results.config.datasets.eval_side, results.config.experiment.seeds[0]
    protocol = results.protocol(results.steps)
    table = label_map(protocol.dataset, protocol.task, protocol.step, "test", "wilson")
    runs = list(results.config.experiment.chosen)
    folders = [("base model", Path(results.file(runs[-1], seed, 0, "overlays")))]
    folders += [(label(run), Path(results.file(run, seed, results.steps, "overlays"))) for run in runs]
    images = {row.id: row for row in protocol.val}
    rows = []
    for name in sorted(path.stem for path in folders[-1][1].glob("*.png")):
        item = images[name]
        image = eval_geometry(open_image(item.image), size)
        truth = table[np.asarray(eval_geometry(Image.fromarray(open_mask(item.mask)), size, nearest=True))]
        cells = [embed(image), embed(_overlay(image, truth))]
        for _, folder in folders:
            path = folder / f"{name}.png"
            cells.append(embed(_overlay(image, np.asarray(Image.open(path)))) if path.exists() else "")
        classes = [protocol.class_names[c] for c in item.labels]
        rows.append({"classes": ", ".join(classes), "cells": cells})
    return {"columns": ["image", "truth", *(name for name, _ in folders)], "rows": rows}


def web_gallery(config: Config, steps: int) -> list[Row]:
    """Return per new class some images kept by both filters and some rejected, with captions and scores."""
    paths = Layout.of(config)
    sections = []
    for step in range(1, steps + 1):
        captions = {r["image_id"]: r for r in read_table(paths.selection(step, "noun_filter"), NOUN_FILTER)}
        by_class: dict[int, list[NewClassRow]] = defaultdict(list)
        for row in read_table(paths.selection(step, "new_classes"), NEW_CLASSES):
            if row["filters"] == strictest(config):
                by_class[row["class_id"]].append(row)
        for class_id, rows in sorted(by_class.items()):
            kept = sorted((r for r in rows if r["kept"]), key=lambda r: -r["fourier_score"])
            noun = [r for r in rows if r["reason"].startswith("noun:")]
            style = [r for r in rows if not r["kept"] and not r["reason"].startswith("noun:")]
            cells = [
                ("kept", kept[:PER_CELL]),
                ("rejected by the noun filter", noun[:PER_CELL]),
                (
                    "rejected by the Fourier filter" if has_images(config) else "over the budget",
                    sorted(style, key=lambda r: r["fourier_score"])[:PER_CELL],
                ),
            ]
            groups = [(title, [_card(r, captions[r["image_id"]]) for r in part]) for title, part in cells]
            sections.append({"class_id": class_id, "name": _class_name(paths, step, class_id), "groups": groups})
    return sections


def embed(image: Image.Image) -> str:
    """Return a picture as a data address, so that the page is one file."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=82)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def _class_name(paths: Layout, step: int, class_id: int) -> str:
    return read_protocol(paths.protocol(step)).class_names[class_id]


def _card(row: NewClassRow, judged: NounFilterRow) -> dict[str, str]:
    image = open_image(row["image"])
    image.thumbnail((128, 128))
    reason = row["reason"].removeprefix("noun:").replace("_", " ")
    return {
        "picture": embed(image),
        "caption": judged["caption"] or "(no caption)",
        "noun": f"{judged['word']}~{judged['target']} {judged['score']:.2f}" if judged["word"] else "no noun",
        "fourier": "" if math.isnan(row["fourier_score"]) else f"{row['fourier_score']:+.1f}",
        "reason": reason,
    }


def _overlay(image: Image.Image, labels: NDArray[np.uint8]) -> Image.Image:
    colours = np.array([_colour(i) for i in range(256)], np.float32)
    pixels = np.asarray(image, np.float32)
    shown = (labels != 0)[..., None]
    mixed = np.where(shown, 0.35 * pixels + 0.65 * colours[labels], 0.75 * pixels + 50)
    return Image.fromarray(mixed.clip(0, 255).astype(np.uint8))


def _colour(index: int) -> tuple[float, float, float]:
    import colorsys

    if index in (0, 255):
        return (235.0, 235.0, 235.0)
    red, green, blue = colorsys.hsv_to_rgb((index * 0.381966) % 1, 0.55 + 0.3 * (index % 2), 0.95 - 0.2 * (index % 3))
    return 255 * red, 255 * green, 255 * blue
