"""Images per second of our captioning loop against one image at a time, as the released script does it.

python -m bench.captioning --images 400 [--model FOLDER] [--batch 32] [--device cpu]

Same model, same decoding, same images (drawn here, of VOC's sizes, as JPEG files); captions must be equal. The other
loop opens an image, prepares it, generates, strips and appends a line to a file, then takes the next one. The two take
turns, and the fastest turn of each counts.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from math import inf
from pathlib import Path

import numpy as np

from pipeline.artifacts import CAPTIONS, read_table
from pipeline.captioning.captioners import Captioner, Source, build
from pipeline.captioning.captions import caption
from pipeline.config import Captioner as Settings
from pipeline.datasets.images import open_image
from pipeline.miniweb.drawing import draw_scene


def draw(folder: Path, count: int, scale: int) -> list[Source]:
    """Write `count` images and return them; `scale` enlarges the drawings to photographs' sizes."""
    sources = []
    for i in range(count):
        image = draw_scene(np.random.default_rng((5, i)), [i % 20 + 1]).image
        image = image.resize((image.width * scale, image.height * scale))
        image.save(folder / f"{i:05d}.jpg", quality=90)
        sources.append(Source(f"{i:05d}", str(folder / f"{i:05d}.jpg")))
    return sources


def one_by_one(captioner: Captioner, sources: list[Source], out: Path) -> list[str]:
    """Caption as the released script does: one image per call, a line appended per image."""
    for source in sources:
        (text,) = captioner.caption([open_image(source.uri)])
        with out.open("a") as file:
            file.write(f"{Path(source.uri).name} {text}\n")
    return [line.partition(" ")[2] for line in out.read_text().splitlines()]


def main() -> None:
    """Print both rates and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=3, help="alternating turns of each; the fastest counts")
    parser.add_argument("--model", default="pipeline/miniweb/captioner")
    parser.add_argument("--prompt", default="")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--beams", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--scale", type=int, default=3)
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    arguments = parser.parse_args()
    settings = Settings(
        model=arguments.model, prompt=arguments.prompt, batch_size=arguments.batch, beams=arguments.beams,
        max_new_tokens=arguments.tokens, device=arguments.device,
    )  # fmt: skip
    captioner = build(settings)
    assert isinstance(captioner, Captioner)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        sources = draw(folder, arguments.images, arguments.scale)
        captioner.caption([open_image(source.uri) for source in sources[:2]])
        figures = {"one image at a time": (inf, inf), "ours": (inf, inf)}
        for turn in range(2 * arguments.repeats):
            name = list(figures)[turn % 2]
            wall, cpu = time.monotonic(), time.process_time()
            if name == "ours":
                caption(sources, settings, folder / f"{turn}.parquet", captioner)
                ours = [row["caption"] for row in read_table(folder / f"{turn}.parquet", CAPTIONS)]
            else:
                theirs = one_by_one(captioner, sources, folder / f"{turn}.txt")
            spent = (time.monotonic() - wall, time.process_time() - cpu)
            figures[name] = (min(figures[name][0], spent[0]), min(figures[name][1], spent[1]))
    for name, (wall, cpu) in figures.items():
        print(f"{name:20s} {len(sources) / wall:8.1f} images/s  {1000 * cpu / len(sources):8.1f} CPU ms/image")
    (slow, slow_cpu), (fast, fast_cpu) = figures.values()
    print(f"ratio {slow / fast:.2f} by wall time, {slow_cpu / fast_cpu:.2f} by CPU time")
    differing = sum(a != b for a, b in zip(ours, theirs, strict=True))
    print(f"{differing} of {len(sources)} captions differ")


if __name__ == "__main__":
    main()
