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
from pipeline.eval.report.colours import overlay, swatch
from pipeline.eval.report.results import Results, label

Row = dict[str, Any]
PER_CELL = 5
SHOT = 256
"""Longer side of a gallery picture, pixels; the page shows it smaller and opens it."""


def overlay_rows(results: Results) -> Row:
    """Return columns, rows and legend of pictures: image, truth, every base model's and every run's prediction."""
    size, seed = results.config.datasets.eval_side, results.config.experiment.seeds[0]
    protocol = results.protocol(results.steps)
    table = label_map(protocol.dataset, protocol.task, protocol.step, "test", "wilson")
    shown = [(results.base_name(run), run, 0) for run in results.base_runs]
    shown += [(label(run), run, results.steps) for run in results.config.experiment.chosen]
    folders = [(name, Path(results.file(run, seed, step, "overlays"))) for name, run, step in shown]
    images = {row.id: row for row in protocol.val}
    rows, seen = [], set[int]()
    for name in sorted(path.stem for path in folders[-1][1].glob("*.png")):
        item = images[name]
        image = eval_geometry(open_image(item.image), size)
        # Labels are not interpolated: between two classes lies no third.
        truth = table[np.asarray(eval_geometry(Image.fromarray(open_mask(item.mask)), size, nearest=True))]
        labels = [truth, *(_prediction(folder / f"{name}.png") for _, folder in folders)]
        titles = ["truth", *(title for title, _ in folders)]
        seen.update(int(value) for part in labels if part is not None for value in np.unique(part))
        classes = [protocol.class_names[c] for c in item.labels]
        said = ", ".join(classes) or "no class"
        cells = [{"picture": embed(image), "alt": f"Image {name}: {said}"}]
        cells += [
            {"picture": "" if part is None else embed(overlay(image, part)), "alt": f"{title} on {name}: {said}"}
            for title, part in zip(titles, labels, strict=True)
        ]
        rows.append({"classes": classes, "cells": cells})
    legend = [(protocol.channel_names[i], embed(swatch(i))) for i in sorted(seen) if 0 < i < len(protocol.order)]
    return {"columns": ["image", "truth", *(name for name, _ in folders)], "rows": rows, "legend": legend}


def _prediction(path: Path) -> NDArray[np.uint8] | None:
    return np.asarray(Image.open(path)) if path.exists() else None


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
    image.thumbnail((SHOT, SHOT))
    return {
        "picture": embed(image),
        "caption": judged["caption"] or "(no caption)",
        "noun": f"{judged['word']}~{judged['target']} {judged['score']:.2f}" if judged["word"] else "no noun",
        "fourier": "" if math.isnan(row["fourier_score"]) else f"{row['fourier_score']:+.1f}",
        "verdict": _verdict(row, judged),
    }


def _verdict(row: NewClassRow, judged: NounFilterRow) -> str:
    """Return which filter refused an image and why; a kept one may fill up the budget."""
    filter_, _, reason = row["reason"].rpartition(":")
    said = reason.replace("_", " ")
    if filter_:
        return (
            f"noun filter: {said} {judged['threshold']:.2f}" if reason == "below_threshold" else f"noun filter: {said}"
        )
    if not said:
        return ""
    return {"filled": "below 0, fills up the budget", "below_threshold": "Fourier filter: below 0"}.get(
        reason, f"Fourier filter: {said}"
    )
