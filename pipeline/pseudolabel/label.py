"""Labels of replay images by the model of the step before (web_wilss.md 5.2)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pipeline import distributed
from pipeline.artifacts import PSEUDOLABELS, REPLAY, atomic_dir, read_table, write_table
from pipeline.artifacts.rows import PseudoLabelRow, ReplayRow
from pipeline.config import PseudoLabel
from pipeline.datasets.images import open_image
from pipeline.datasets.transforms import normalise
from pipeline.models import load_model
from pipeline.models.inference import predict
from pipeline.runtime.progress import Progress
from pipeline.runtime.threads import use_threads


def pseudolabel(model: Path, replay: Path, settings: PseudoLabel, out_dir: Path, out: Path) -> None:
    """Write <image_id>.png with channel ids for every kept replay image into `out_dir`, and a table.

    Native resolution up to `max_side`, argmax of the upsampled logits, no confidence threshold. The table has
    the classes found and the mean probability of the winning class.
    """
    use_threads()
    network = load_model(model).to(distributed.device())
    rows = [row for row in read_table(replay, REPLAY) if row["kept"]]
    progress = Progress("pseudo-labels", len(rows))
    table = []
    with atomic_dir(out_dir) as folder:
        for row, (confidence, chosen) in predict(network, _batches(rows, settings), _most_likely, progress=progress):
            label = chosen.astype(np.uint8)
            Image.fromarray(label).save(folder / f"{row['image_id']}.png")
            table.append(_row(row, label, float(confidence.mean()), out_dir))
    table.sort(key=lambda row: str(row["image_id"]))
    write_table(out, table, PSEUDOLABELS, provenance={"model": str(model), **settings.model_dump()})


def _most_likely(logits: Tensor) -> Sequence[Tensor]:
    return logits.softmax(dim=1).max(dim=1)


def _batches(rows: list[ReplayRow], settings: PseudoLabel) -> Iterator[tuple[list[ReplayRow], Tensor]]:
    # One unfinished batch per image size is in memory.
    waiting: dict[tuple[int, ...], list[tuple[ReplayRow, Tensor]]] = defaultdict(list)
    for row in rows:
        pixels = normalise(_capped(open_image(row["image"]), settings.max_side))
        group = waiting[pixels.shape]
        group.append((row, pixels))
        if len(group) == settings.batch_size:
            yield _stacked(waiting.pop(pixels.shape))
    yield from map(_stacked, waiting.values())


def _stacked(group: list[tuple[ReplayRow, Tensor]]) -> tuple[list[ReplayRow], Tensor]:
    return [row for row, _ in group], torch.stack([pixels for _, pixels in group])


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
