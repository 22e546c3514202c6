"""Models and folders that a test of teaching needs: random weights, drawn images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from pipeline.models import SegmentationModel, build_model, save_model

NAMES = ("nut", "bolt", "washer")


def model_at(
    folder: Path, sizes: Sequence[int] = (4,), names: Sequence[str] = NAMES, seed: int = 0, **about: Any
) -> Path:
    """Save a small network of random weights, which sees every class, as a step folder; return the folder."""
    torch.manual_seed(seed)
    network = build_model("small_cnn", sizes, about.pop("classifier", "linear"), about.pop("options", {})).eval()
    if network.classifier == "linear":
        _spread(network)
    order = about.pop("order", list(range(sum(sizes))))
    header = {"dataset": "own:x", "task": "t", "setting": "overlap", "step": len(sizes) - 1, "order": order,
              "class_names": {str(i): name for i, name in enumerate(names, 1)}, "method": "bce", **about}  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    save_model(folder / "model.safetensors", network, header)
    return folder


def _spread(network: SegmentationModel) -> None:
    """Give every channel the same mean and spread over noise, so that each is the best somewhere."""
    blocks = torch.rand(8, 3, 5, 6).repeat_interleave(8, 2).repeat_interleave(8, 3)
    with torch.no_grad():
        features = network(4 * blocks - 2).maps[-1]
        for classifier in network.classifiers:
            classifier.weight.normal_()
            found = torch.nn.functional.conv2d(features, classifier.weight)
            scale = 2 / found.std(dim=(0, 2, 3))
            classifier.weight.mul_(scale[:, None, None, None])
            classifier.bias.copy_(-found.mean(dim=(0, 2, 3)) * scale)


def photos_at(folder: Path, count: int = 10, side: int = 40, seed: int = 0) -> Path:
    """Write images of noise in blocks, so that a random network sees several classes; return the folder."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        blocks = rng.integers(0, 256, (5, 6, 3), np.uint8).repeat(side // 5, 0).repeat(side // 5, 1)
        Image.fromarray(blocks).save(folder / f"photo {number}.png")
    return folder


def truth_at(folder: Path, names: Sequence[str], count: int = 3, values: Sequence[int] = (0, 1, 255)) -> Path:
    """Write images/, masks/ with blocks of `values` and classes.txt; return the folder."""
    photos_at(folder / "images", count, seed=1)
    (folder / "masks").mkdir()
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in ("background", *names)))
    for path in (folder / "images").iterdir():
        row = np.resize(np.asarray(values, np.uint8), 6)
        Image.fromarray(np.tile(row, (5, 1)).repeat(8, 0).repeat(8, 1)).save(folder / "masks" / f"{path.stem}.png")
    return folder
