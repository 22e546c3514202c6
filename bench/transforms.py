"""A training sample's transforms: Pillow and NumPy alone, torchvision's v2 on pictures (ours), and on tensors.

    python -m bench.transforms [--repeats 200]

Same images and draws for all, one thread, processor time; decoding is not part of it. Prints milliseconds per sample
and where the results differ from the first way's.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image

from pipeline.datasets.imagenet import MEAN, STD
from pipeline.datasets.transforms import TrainGeometry, normalise, pixels

Sample = tuple[Any, Any]
CASES = {"VOC, 512": (500, 375, 512), "MiniVOC, 96": (128, 96, 96)}


def by_numpy(geometry: TrainGeometry, image: Image.Image, mask: Image.Image) -> Sample:
    """Crop, resize and flip pictures, then normalise in NumPy."""
    top, left, height, width = geometry.box
    found = []
    for picture, kernel in ((image, Image.Resampling.BILINEAR), (mask, Image.Resampling.NEAREST)):
        picture = picture.crop((left, top, left + width, top + height)).resize((geometry.size,) * 2, kernel)
        found.append(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if geometry.flip else picture)
    values = np.asarray(found[0], np.float32) / np.float32(255)
    values = (values - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1))), torch.from_numpy(np.array(found[1]))


def by_v2(geometry: TrainGeometry, image: Any, mask: Any) -> Sample:
    """What the data sets do."""
    return normalise(geometry.picture(image)), geometry.labels(mask)


def milliseconds(function: Callable[..., Sample], draws: list[TrainGeometry], *inputs: Any) -> float:
    """Return processor time per sample."""
    function(draws[0], *inputs)
    start = time.process_time()
    for geometry in draws:
        function(geometry, *inputs)
    return 1e3 * (time.process_time() - start) / len(draws)


def photo(width: int, height: int) -> tuple[Image.Image, Image.Image]:
    """Return soft colours under noise, and a mask of blocks."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), int)
    noisy = (smooth + rng.integers(-20, 21, smooth.shape)).clip(0, 255).astype(np.uint8)
    blocks = Image.fromarray(rng.integers(0, 22, (height // 25, width // 25), dtype=np.uint8))
    return Image.fromarray(noisy), blocks.resize((width, height), Image.Resampling.NEAREST)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=200)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    print(f"{'':14s} {'numpy':>8s} {'v2':>8s} {'tensors':>8s}   differing from numpy: v2, tensors (values, labels)")
    for name, (width, height, size) in CASES.items():
        rng = random.Random(0)
        draws = [TrainGeometry.draw(width, height, size, rng, (0.5, 2.0)) for _ in range(repeats)]
        image, mask = photo(width, height)
        ways = [(by_numpy, image, mask), (by_v2, image, mask), (by_v2, pixels(image), pixels(mask))]
        # Interleaved rounds: what else the machine does falls on all three.
        rounds = [[milliseconds(function, draws, *inputs) for function, *inputs in ways] for _ in range(3)]
        times = " ".join(f"{best:8.3f}" for best in np.min(rounds, axis=0))
        results = [[function(draw, *inputs) for draw in draws[:20]] for function, *inputs in ways]
        shares = [
            f"{np.mean([(a[part] != b[part]).float().mean() for a, b in zip(results[0], other, strict=True)]):.2%}"
            for other in results[1:]
            for part in (0, 1)
        ]
        print(f"{name:14s} {times}   {shares[0]} {shares[1]}, {shares[2]} {shares[3]}")


if __name__ == "__main__":
    main()
