"""The arithmetic of docs/scale.md: hours of ten million candidates, and of ADE 100-5, on 8 and on 64 GPUs.

python bench/scale.py                                # with the assumed rates of a GPU
python bench/scale.py --caption 60 --train 150       # with yours (`make cost` prints them)
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

CPUS_PER_GPU = 16
# Measured by `python -m bench.items`: CPU seconds per image, one thread.
DECODE, NOUNS, SPECTRUM, CROP = 1.13e-3, 0.95e-3, 3.10e-3, 4.81e-3
IMAGE_BYTES = 91_000
PAGE = 20
"""Results per search page (crawl_ingest.page_size)."""
ADE_STEPS = (20192, 1142, 600, 1234, 1204, 1151, 1874, 1807, 2943, 1238, 1898)
"""Training images of ADE 100-5, overlap (specs/ciss_methods.md, section 2)."""
ADE_VALIDATION = 2000
SHARD = 10_000


@dataclass(frozen=True)
class Stage:
    """A stage of a crawl: its hours on `gpus` GPUs with their CPUs, and what bounds it."""

    name: str
    hours: float
    bound: str


def crawl(images: int, gpus: int, rates: argparse.Namespace) -> list[Stage]:
    """Return the stages from the search to the spectra of `images` candidates."""
    cores = CPUS_PER_GPU * gpus

    def hours(seconds: float) -> float:
        return seconds / 3600

    return [
        Stage("search", hours(images / PAGE / rates.searches), "one API's pace, not the cluster"),
        Stage("download", hours(images * IMAGE_BYTES * 8 / (rates.gigabits * 1e9)), "the line"),
        # A crawl decodes on one thread, beside the one that downloads.
        Stage("decode, hash", hours(images * DECODE / rates.crawls), "crawls at a time"),
        Stage("caption", hours(images / rates.caption / gpus), "GPU"),
        Stage("nouns", hours(images * NOUNS / cores), "CPU"),
        Stage("spectra", hours(images * SPECTRUM / cores), "CPU"),
    ]


@dataclass(frozen=True)
class Comparison:
    """Hours of a comparison of methods on ADE 100-5, and of its longest chain of steps."""

    gpu_hours: float
    chain_hours: float
    elapsed_hours: float
    processes: int
    bound: str


def ade(gpus: int, rates: argparse.Namespace) -> Comparison:
    """Return what `methods` x `seeds` chains of eleven steps take. Bases are shared by the methods of a recipe."""
    first, *later = [images * rates.epochs / rates.train / 3600 for images in ADE_STEPS]
    evaluation = ADE_VALIDATION / rates.evaluate / 3600
    bases = rates.recipes * rates.seeds * (first + evaluation)
    chains = rates.methods * rates.seeds
    steps = sum(later) + len(later) * evaluation
    total = bases + chains * steps
    # A chain cannot be cut: its steps follow each other. Spare GPUs go into each step, up to one image per process.
    processes = max(1, min(rates.batch, gpus // chains))
    chain = (first + sum(later)) / processes + len(ADE_STEPS) * evaluation
    elapsed = max(total / gpus, chain)
    bound = "GPUs" if elapsed > chain else "the chain of steps"
    return Comparison(total, chain, elapsed, processes, bound)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value, text in (
        ("caption", 20.0, "images per second and GPU of the captioner (assumed)"),
        ("train", 100.0, "images per second and GPU of a step with its teacher, ResNet-101 at 512 (assumed)"),
        ("evaluate", 100.0, "images per second and GPU (assumed)"),
        ("searches", 1.0, "search requests per second (what Openverse's manners allow)"),
        ("gigabits", 1.0, "of the line to the web"),
    ):
        parser.add_argument(f"--{name}", type=float, default=value, help=text)
    for name, number in (("epochs", 60), ("methods", 13), ("seeds", 3), ("recipes", 3), ("batch", 24), ("crawls", 1)):
        parser.add_argument(f"--{name}", type=int, default=number)
    parser.add_argument("--images", type=int, default=10_000_000)
    rates = parser.parse_args()
    print(
        f"{rates.images} candidates in {-(-rates.images // SHARD)} shards, {rates.images * IMAGE_BYTES / 1e12:.2f} TB"
    )
    print(f"{'stage':14s}{'8 GPUs, h':>11s}{'64 GPUs, h':>12s}  bound by")
    eight, many = crawl(rates.images, 8, rates), crawl(rates.images, 64, rates)
    for small, large in zip(eight, many, strict=True):
        print(f"{small.name:14s}{small.hours:11.2f}{large.hours:12.2f}  {small.bound}")
    for gpus, stages in ((8, eight), (64, many)):
        slowest = sorted(stages, key=lambda stage: -stage.hours)
        print(f"slowest with {gpus} GPUs: {slowest[0].name}, then {slowest[1].name}")
    feed = rates.train * CROP
    print(f"\nADE 100-5, {len(ADE_STEPS)} steps, {rates.methods} methods, {rates.seeds} seeds")
    print(f"a GPU at {rates.train:.0f} images per second needs {feed:.2f} CPUs to decode and crop its images")
    for gpus in (8, 64):
        found = ade(gpus, rates)
        print(f"{gpus:3d} GPUs: {found.gpu_hours:.0f} GPU hours, {found.elapsed_hours:.1f} h in all; longest chain "
              f"{found.chain_hours:.1f} h with {found.processes} GPU(s) per step; bound by {found.bound}")  # fmt: skip


if __name__ == "__main__":
    main()
