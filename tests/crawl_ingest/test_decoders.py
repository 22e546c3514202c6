"""Images that ask for too much, that hide something, or that kill their decoder."""

import asyncio
import io
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.checks import decoders, reasons
from pipeline.crawl_ingest.checks.decoders import Decoders
from pipeline.crawl_ingest.checks.image import IntakeError, accept
from tests.crawl_ingest.pool import jpeg


def scans(count: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (600, 600, 3), dtype=np.uint8)).save(
        buffer, "JPEG", progressive=True
    )
    data = buffer.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + b"\xff\xd9"


def tiff(tiles: int) -> bytes:
    entries = [
        (256, 4, 1, 16_000),
        (257, 4, 1, 1000),
        (322, 4, 1, 16),
        (323, 4, 1, 16),
        (324, 4, tiles, 200),
        (325, 4, tiles, 200),
    ]
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return head + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(100 + 4 * tiles)


def png(chunks: int) -> bytes:
    chunk = struct.pack(">I", 0) + b"teSt" + struct.pack(">I", zlib.crc32(b"teSt"))
    buffer = io.BytesIO()
    Image.new("RGB", (90, 90)).save(buffer, "PNG")
    return buffer.getvalue()[:33] + chunk * chunks + buffer.getvalue()[33:]


def gif(blocks: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("P", (90, 90)).save(buffer, "GIF")
    data = buffer.getvalue()
    start = data.index(b"!") if b"!" in data else data.index(b",")
    return data[:start] + b"!\xfe" + (b"\xff" + bytes(255)) * blocks + b"\0" + data[start:]


COMPLEX = {
    "scans": scans(200), "segments": b"\xff\xd8" + b"\xff\xe1\x00\x02" * 200_000 + jpeg(0)[2:],
    "tiles": tiff(1_200_000), "chunks": png(100_000), "extensions": gif(15_000),
}  # fmt: skip


@pytest.mark.parametrize("name", COMPLEX)
def test_work_is_counted_before_it_is_done(name: str) -> None:
    began = time.process_time()
    with pytest.raises(IntakeError, match="too_complex"):
        accept(COMPLEX[name], CrawlIngest())
    assert time.process_time() - began < 1


def test_usual_files_are_not_too_complex() -> None:
    for data in (scans(1), png(10), gif(100)):
        accept(data, CrawlIngest())


BARE = jpeg(3)
DQT = BARE.index(b"\xff\xdb")
PAYLOADS = {
    "second JFIF": BARE[:20] + BARE[2:20] + BARE[20:], "JFIF thumbnail": BARE[:18] + b"\1\1" + BARE[20:],
    "reserved segment": BARE[:20] + b"\xff\xf1\x00\x08secret" + BARE[20:],
    "RES": BARE[:20] + b"\xff\x02\x00\x08secret" + BARE[20:],
    "table twice": BARE[:DQT] + BARE[DQT : DQT + 69] + BARE[DQT:],
    "table nobody uses": BARE[:DQT] + b"\xff\xdb\x00\x43\x03" + b"s" * 64 + BARE[DQT:],
    "long table": BARE[:DQT] + b"\xff\xdb\x00\x49\x00" + b"s" * 70 + BARE[DQT:],
    "between segments": BARE[:20] + b"\xff\xff\xff" + BARE[20:],
    "DRI twice as long": BARE[:20] + b"\xff\xdd\x00\x08\0\0secr" + BARE[20:],
}  # fmt: skip


@pytest.mark.parametrize("name", PAYLOADS)
def test_nothing_but_the_picture_survives(name: str) -> None:
    assert accept(BARE, CrawlIngest()).data == BARE
    try:
        assert accept(PAYLOADS[name], CrawlIngest()).data != PAYLOADS[name]
    except IntakeError as error:
        assert error.reason in reasons.FAILED


async def _all(chosen: CrawlIngest, bodies: list[bytes]) -> list[str]:
    pool = Decoders(chosen)

    async def one(body: bytes) -> str:
        try:
            return (await pool.accept(body)).image_id
        except IntakeError as error:
            return error.reason

    try:
        return await asyncio.gather(*(one(body) for body in bodies))
    finally:
        pool.close()


def test_processes_accept_what_this_one_accepts() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 120, 4), dtype=np.uint8)).save(buffer, "PNG")
    good = [jpeg(i) for i in range(12)] + [buffer.getvalue()]
    assert asyncio.run(_all(CrawlIngest(), [*good, b"", b"<html>"])) == [
        *(accept(data, CrawlIngest()).image_id for data in good), "empty", "not_an_image",
    ]  # fmt: skip


def test_a_decoder_that_is_killed_is_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "CPU_SECONDS", 0.05)
    buffer = io.BytesIO()
    Image.effect_mandelbrot((4000, 4000), (-2, -1.5, 1, 1.5), 20).save(
        buffer, "WEBP", lossless=True, method=0, quality=0
    )
    heavy = CrawlIngest(max_pixels=40_000_000)
    ended = asyncio.run(_all(heavy, [jpeg(0), *[buffer.getvalue()] * 2, jpeg(1), jpeg(2)]))
    assert ended[1:3] == ["decoder_limit"] * 2 and all(len(ended[i]) == 64 for i in (0, 3, 4))


def test_a_decoder_out_of_memory_is_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "SPARE_BYTES", 20 << 20)
    monkeypatch.setattr(decoders, "BYTES_PER_PIXEL", 0)
    buffer = io.BytesIO()
    Image.new("RGB", (3900, 3900)).save(buffer, "PNG")
    ended = asyncio.run(_all(CrawlIngest(), [buffer.getvalue(), jpeg(1)]))
    assert ended[0] in ("decoder_limit", "not_an_image") and len(ended[1]) == 64
