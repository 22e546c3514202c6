"""CPU time per image of the stages that do not need a GPU, on pictures of a photograph's size. One thread.

python -m bench.items          # docs/scale.md is calculated from these
"""

from __future__ import annotations

import io
import random
import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from pipeline.captioning.nouns import extract_nouns
from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.checks.image import accept
from pipeline.datasets.transforms import TrainGeometry, normalise
from pipeline.fourier_filter.pictures import load_square
from pipeline.fourier_filter.spectra import log_amplitude

WIDTH, HEIGHT = 500, 375


def photograph(seed: int = 0) -> bytes:
    """Return a JPEG with a natural spectrum (1/f) of VOC's usual size."""
    rng = np.random.default_rng(seed)
    y, x = np.fft.fftfreq(HEIGHT)[:, None], np.fft.fftfreq(WIDTH)[None, :]
    falloff = 1 / np.maximum(np.hypot(y, x), 1 / WIDTH)
    planes = [np.fft.ifft2(np.fft.fft2(rng.standard_normal((HEIGHT, WIDTH))) * falloff).real for _ in range(3)]
    pixels = np.stack([(p - p.min()) / np.ptp(p) * 255 for p in planes], axis=-1).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def milliseconds(work: Callable[[], object], times: int) -> float:
    """Return CPU milliseconds per call, the best of three rounds; other processes do not count."""
    work()
    rounds = []
    for _ in range(3):
        started = time.process_time()
        for _ in range(times):
            work()
        rounds.append(1000 * (time.process_time() - started) / times)
    return min(rounds)


def main() -> None:
    """Print a row per item."""
    torch.set_num_threads(1)
    data = photograph()
    image = Image.open(io.BytesIO(data)).convert("RGB")
    side = torch.from_numpy(np.array(load_square(image, 256))).float().movedim(-1, 0)[None]
    captions = [f"a man riding a brown horse past house {i} next to a small dog on a sandy beach" for i in range(512)]
    rng = random.Random(0)

    def crop() -> None:
        geometry = TrainGeometry.draw(WIDTH, HEIGHT, 512, rng, (0.5, 2.0))
        normalise(geometry.picture(Image.open(io.BytesIO(data)).convert("RGB")))

    rows = [
        ("checked, decoded, hashed (ingest)", milliseconds(lambda: accept(data, CrawlIngest()), 20)),
        ("nouns of a caption (batches of 512)", milliseconds(lambda: extract_nouns(captions), 1) / 512),
        ("square of 256 for a spectrum", milliseconds(lambda: load_square(Image.open(io.BytesIO(data)), 256), 20)),
        ("log amplitude, 224 x 224", milliseconds(lambda: log_amplitude(side[..., 16:240, 16:240]), 20)),
        ("decoded and cropped to 512 for training", milliseconds(crop, 10)),
    ]
    print(f"a JPEG of {WIDTH} x {HEIGHT}, {len(data) / 1000:.0f} kB")
    for name, value in rows:
        print(f"{name:42s}{value:8.2f} ms")


if __name__ == "__main__":
    main()
