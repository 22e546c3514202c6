"""Images per second of our captioning loop against one image at a time, as the released script does it.

python -m bench.captioning --images 400 [--model FOLDER] [--batch 32] [--device cpu] [--dtype float32]

Same model, same decoding, same images (drawn here, of VOC's sizes, as JPEG files); captions must be equal. The other
loop opens an image, prepares it, generates, strips and appends a line to a file, then takes the next one. The two take
turns, and the fastest turn of each counts.

Matrix products sum in another order for another batch size. In float32 that moves a caption's mean log-probability by
some 1e-7, which decides between two beams that lie closer than that; in float64, the default here, nothing moves. For
every caption that differs the distance of the two beams is printed, beside how far float32 moved them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from math import inf
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pipeline.artifacts import CAPTIONS, read_table
from pipeline.captioning.captioners import Captioner, Source, build
from pipeline.captioning.captioners.generation import to_device
from pipeline.captioning.captioners.transformers_model import TransformersCaptioner
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


def beams(captioner: TransformersCaptioner, images: list[Image.Image], dtype: torch.dtype) -> dict[str, float]:
    """Return the beams of the first image and their scores, which are mean log-probabilities."""
    count = captioner.settings.beams
    captioner.network.to(dtype)
    inputs = {key: to_device(value, captioner.device, dtype) for key, value in captioner.prepare(images).items()}
    with torch.inference_mode():
        out = captioner.network.generate(
            **inputs, max_new_tokens=captioner.settings.max_new_tokens, num_beams=count, num_return_sequences=count,
            do_sample=False, output_scores=True, return_dict_in_generate=True,
        )  # fmt: skip
    texts = captioner.processor.batch_decode(out.sequences[:count], skip_special_tokens=True)
    return dict(zip(texts, out.sequences_scores[:count].tolist(), strict=True))


def explain(captioner: TransformersCaptioner, source: Source, batch: int, texts: tuple[str, str]) -> None:
    """Print how far apart two captions of an image are in float64, and how far float32 moves them."""
    image = open_image(source.uri)
    exact = beams(captioner, [image], torch.float64)
    rounded = [beams(captioner, [image] * size, torch.float32) for size in (1, batch)]
    moved = [abs(found[text] - exact[text]) for found in rounded for text in texts if text in found and text in exact]
    gap = abs(exact[texts[0]] - exact[texts[1]]) if all(text in exact for text in texts) else inf
    print(f"{source.image_id}: {texts[0]!r} against {texts[1]!r}: {gap:.1e} apart, moved by up to {max(moved):.1e}")


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
    parser.add_argument("--dtype", default="float64", choices=["float64", "float32", "bfloat16", "float16"])
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    arguments = parser.parse_args()
    settings = Settings(
        model=arguments.model, prompt=arguments.prompt, batch_size=arguments.batch, beams=arguments.beams,
        max_new_tokens=arguments.tokens, device=arguments.device, dtype=arguments.dtype,
    )  # fmt: skip
    captioner = build(settings)
    assert isinstance(captioner, TransformersCaptioner)
    with tempfile.TemporaryDirectory() as scratch:
        sources = draw(Path(scratch), arguments.images, arguments.scale)
        figures, ours, theirs = measure(captioner, settings, sources, Path(scratch), arguments.repeats)
        differing = [i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b]
        print_rates(figures, len(sources))
        print(f"{len(differing)} of {len(sources)} captions differ ({arguments.dtype})")
        for i in differing:
            explain(captioner, sources[i], arguments.batch, (ours[i], theirs[i]))


def measure(
    captioner: Captioner, settings: Settings, sources: list[Source], folder: Path, repeats: int
) -> tuple[dict[str, tuple[float, float]], list[str], list[str]]:
    """Return the least wall and CPU seconds of both loops, our captions and theirs."""
    captioner.caption([open_image(source.uri) for source in sources[:2]])
    figures = {"one image at a time": (inf, inf), "ours": (inf, inf)}
    for turn in range(2 * repeats):
        name = list(figures)[turn % 2]
        wall, cpu = time.monotonic(), time.process_time()
        if name == "ours":
            caption(sources, settings, folder / f"{turn}.parquet", captioner)
            ours = [row["caption"] for row in read_table(folder / f"{turn}.parquet", CAPTIONS)]
        else:
            theirs = one_by_one(captioner, sources, folder / f"{turn}.txt")
        spent = (time.monotonic() - wall, time.process_time() - cpu)
        figures[name] = (min(figures[name][0], spent[0]), min(figures[name][1], spent[1]))
    return figures, ours, theirs


def print_rates(figures: dict[str, tuple[float, float]], images: int) -> None:
    """Print both rates and their ratio."""
    for name, (wall, cpu) in figures.items():
        print(f"{name:20s} {images / wall:8.1f} images/s  {1000 * cpu / images:8.1f} CPU ms/image")
    (slow, slow_cpu), (fast, fast_cpu) = figures.values()
    print(f"ratio {slow / fast:.2f} by wall time, {slow_cpu / fast_cpu:.2f} by CPU time")


if __name__ == "__main__":
    main()
