"""Fuzz the image intake: mutated files of every format must be accepted or refused, in time and in memory.

    python -m bench.fuzz_intake [--inputs 20000] [--seed 0]
    python -m bench.fuzz_intake --responses 20000               # whole responses through a whole crawl

A child process decodes under an address-space limit while this one watches the clock; a crash, a hang, an exception
that is not a refusal, or memory over the cap ends the run with exit code 1 and the input's seed.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing as mp
import os
import random
import resource
import time
import warnings
from collections import Counter
from multiprocessing.connection import Connection

import numpy as np
from PIL import Image

from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.checks.image import FORMATS, IntakeError, accept
from pipeline.crawl_ingest.checks.reasons import FAILED

SECONDS, MEGABYTES = 5.0, 600
"""Caps of one input: wall time, and growth of the child's peak memory (16 megapixels take 64 MB as RGBA)."""


def main(argv: list[str] | None = None) -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--responses", type=int, help="instead: so many responses of a hostile server, one row each")
    arguments = parser.parse_args(argv)
    if arguments.responses:
        from bench.fuzz_responses import fuzz

        return fuzz(arguments.responses, arguments.seed)
    ours, theirs = mp.Pipe()
    child = mp.get_context("fork").Process(target=_decode, args=(theirs, arguments.seed, arguments.inputs), daemon=True)
    child.start()
    theirs.close()
    # Drawing the originals is no input's fault.
    ours.recv()
    ended: Counter[str] = Counter()
    slowest, peak, began = 0.0, 0, time.monotonic()
    for number in range(arguments.inputs):
        try:
            if not ours.poll(SECONDS):
                return _failed(number, arguments.seed, f"hung for {SECONDS} s", child)
            reason, seconds, peak = ours.recv()
        except EOFError:
            return _failed(number, arguments.seed, "crashed", child)
        if reason not in FAILED and reason != "accepted":
            return _failed(number, arguments.seed, reason, child)
        ended[reason] += 1
        slowest = max(slowest, seconds)
    print(f"{arguments.inputs:,} inputs in {time.monotonic() - began:.0f} s, slowest {1000 * slowest:.0f} ms, "
          f"peak memory grew by {peak} MB: {dict(ended.most_common())}")  # fmt: skip
    return 0


def _failed(number: int, seed: int, why: str, child: mp.process.BaseProcess) -> int:
    child.kill()
    print(f"input {number} of seed {seed}: {why}")
    return 1


def _decode(out: Connection, seed: int, inputs: int) -> None:
    warnings.simplefilter("ignore")
    # libtiff complains about every other input.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    settings, originals = CrawlIngest(), files()
    accept(originals[0], settings)
    before = _peak()
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + MEGABYTES * 2**20,) * 2)
    out.send(None)
    for number in range(inputs):
        data = mutated(originals, random.Random(f"{seed}/{number}"))
        began = time.monotonic()
        try:
            accept(data, settings)
            reason = "accepted"
        except IntakeError as error:
            # Whatever a decoder raises is a refusal; what a limit on memory makes of an input is our finding.
            reason = "wanted memory over the cap" if isinstance(error.__context__, MemoryError) else error.reason
        except BaseException as error:
            reason = f"raised {type(error).__name__}: {error}"
        out.send((reason, time.monotonic() - began, _peak() - before))


def mutated(files: list[bytes], rng: random.Random) -> bytes:
    """Return a damaged copy of one of the files."""
    data = bytearray(rng.choice(files))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        kind, at = rng.randrange(6), rng.randrange(max(1, len(data)))
        if rng.random() < 0.5:
            # Headers and tables decide more than pixels do.
            at = rng.randrange(min(len(data), 200) or 1)
        if kind == 0:
            data[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            data[at : at + 4] = rng.choice([b"\xff\xff\xff\xff", bytes(4), b"\x7f\xff\xff\xff", b"\0\0\xff\xff"])
        elif kind == 2:
            del data[at : at + rng.randint(1, 64)]
        elif kind == 3:
            data[at:at] = rng.randbytes(rng.randint(1, 64))
        elif kind == 4:
            other = rng.choice(files)
            cut = rng.randrange(len(other))
            data[at:] = other[cut:]
        else:
            data = data[: max(1, at)] if rng.random() < 0.3 else data + data[at : at + 4000]
    return bytes(data[:2_000_000])


def files() -> list[bytes]:
    """Return small files of every format and kind."""
    values = np.random.default_rng(0).integers(0, 255, (9, 12, 3), dtype=np.uint8)
    picture = Image.fromarray(values).resize((160, 120), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "camera"
    made: list[bytes] = []

    def add(image: Image.Image, kind: str, **how: object) -> None:
        buffer = io.BytesIO()
        image.save(buffer, kind, **how)
        made.append(buffer.getvalue())

    for kind in FORMATS:
        add(picture, kind)
    add(picture, "JPEG", progressive=True, exif=exif)
    add(picture.convert("CMYK"), "JPEG")
    add(picture.convert("L"), "JPEG")
    add(picture.convert("RGBA"), "PNG")
    add(picture.convert("P"), "PNG", transparency=3)
    add(Image.fromarray(np.full((60, 80), 40_000, np.uint16)), "PNG")
    add(picture, "GIF", save_all=True, append_images=[picture.rotate(90), picture.rotate(180)])
    add(picture, "PNG", save_all=True, append_images=[picture.rotate(90)])
    add(picture, "WEBP", lossless=True)
    add(picture, "WEBP", save_all=True, append_images=[picture.rotate(90)])
    add(picture, "TIFF", compression="tiff_lzw")
    add(picture, "TIFF", compression="jpeg")
    add(Image.fromarray(np.full((60, 80), 40_000, np.uint16)), "TIFF")
    return made


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _address_space() -> int:
    with open("/proc/self/statm") as facts:
        return int(facts.read().split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    raise SystemExit(main())
