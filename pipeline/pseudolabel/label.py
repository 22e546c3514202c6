"""Labels of replay images by the model of the step before (web_wilss.md 5.2)."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pipeline.artifacts import PSEUDOLABELS, REPLAY, atomic_dir, read_table, write_table
from pipeline.artifacts.rows import PseudoLabelRow, ReplayRow
from pipeline.config import PseudoLabel
from pipeline.datasets.images import open_image
from pipeline.datasets.transforms import normalise
from pipeline.models import load_model
from pipeline.models.resize import upsample
from pipeline.runtime.progress import Progress


def pseudolabel(model: Path, replay: Path, settings: PseudoLabel, out_dir: Path, out: Path) -> None:
    """Write <image_id>.png with channel ids for every kept replay image into `out_dir`, and a table.

    Native resolution up to `max_side`, argmax of the upsampled logits, no confidence threshold. The table has
    the classes found and the mean probability of the winning class.
    """
    torch.set_num_threads(2)
    network = load_model(model)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network.to(device)
    rows = [row for row in read_table(replay, REPLAY) if row["kept"]]
    progress = Progress("pseudo-labels", len(rows))
    table = []
    with atomic_dir(out_dir) as folder:
        for batch in _batches(rows, settings):
            images = torch.stack([pixels for _, pixels in batch]).to(device)
            with torch.inference_mode():
                probabilities = upsample(network(images).logits, images.shape[-2:]).softmax(dim=1)
            confidence, labels = (t.cpu().numpy() for t in probabilities.max(dim=1))
            for (row, _), label, sure in zip(batch, labels.astype(np.uint8), confidence, strict=True):
                Image.fromarray(label).save(folder / f"{row['image_id']}.png")
                table.append(_row(row, label, float(sure.mean()), out_dir))
            progress.update(len(batch))
    table.sort(key=lambda row: str(row["image_id"]))
    write_table(out, table, PSEUDOLABELS, provenance={"model": str(model), **settings.model_dump()})


def _batches(rows: list[ReplayRow], settings: PseudoLabel) -> list[list[tuple[ReplayRow, Tensor]]]:
    by_size: dict[tuple[int, ...], list[tuple[ReplayRow, Tensor]]] = defaultdict(list)
    for row in rows:
        pixels = normalise(_capped(open_image(row["image"]), settings.max_side))
        by_size[pixels.shape].append((row, pixels))
    return [
        group[start : start + settings.batch_size]
        for _, group in sorted(by_size.items())
        for start in range(0, len(group), settings.batch_size)
    ]


def _capped(image: Image.Image, max_side: int) -> Image.Image:
    if max(image.size) > max_side:
        image.thumbnail((max_side, max_side), Image.Resampling.BILINEAR)
    return image


def _row(row: ReplayRow, label: NDArray[np.uint8], confidence: float, folder: Path) -> PseudoLabelRow:
    return {
        "image_id": row["image_id"],
        "image": row["image"],
        "label": f"{folder}/{row['image_id']}.png",
        "class_ids": [int(v) for v in np.unique(label) if v],
        "confidence": confidence,
        "reason": "",
    }
