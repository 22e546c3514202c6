"""How much each style of the mini web hurts a base model: mIoU on fresh scenes of the base classes, style by style.

python bench/style_gap.py results/mini_story/base/bce/seed0/model.safetensors
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pipeline.datasets.transforms import eval_geometry, normalise
from pipeline.eval import ConfusionMatrix
from pipeline.miniweb.drawing import STYLES, draw_scene
from pipeline.models import load_model
from pipeline.models.resize import upsample

SIDE = 96
_TAG = 991


def style_miou(model: Path, scenes: int) -> dict[str, float]:
    """Return {style: mIoU in percent} over `scenes` scenes; all styles show the same objects."""
    network = load_model(model)
    classes = sum(network.classes_per_step)
    scores = {}
    for style in STYLES:
        drawn = [
            draw_scene(np.random.default_rng((_TAG, i)), [i % (classes - 1) + 1], style=style) for i in range(scenes)
        ]
        images = torch.stack([normalise(eval_geometry(s.image, SIDE)) for s in drawn])
        masks = np.stack([np.asarray(eval_geometry(Image.fromarray(s.mask), SIDE, nearest=True)) for s in drawn])
        with torch.inference_mode():
            predicted = upsample(network(images).logits, (SIDE, SIDE)).argmax(dim=1).numpy()
        scores[style] = 100 * ConfusionMatrix(classes).update(masks, predicted).scores(range(classes), [])["all"]
    return scores


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--scenes", type=int, default=150)
    arguments = parser.parse_args()
    for style, value in style_miou(arguments.model, arguments.scenes).items():
        print(f"{style:12s} {value:5.1f}")


if __name__ == "__main__":
    main()
