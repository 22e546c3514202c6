"""How much work an image asks for, counted before it is decoded.

A few hundred kilobytes can ask for twenty thousand passes over the picture, or for a million Python objects.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.crawl_ingest.checks.jpeg import SOS, segments

MAX_SCANS = 100
"""Of a JPEG; a progressive one usually has ten."""
MAX_SEGMENTS = 2_000
"""Of a JPEG; the largest ICC profiles take 255."""
MAX_CHUNKS = 20_000
"""Of a PNG or a WebP; 20 MB in the pieces of 8 kB that libpng writes are 2,500."""
MAX_TILES = 100_000
"""Of a TIFF; sixteen megapixels in tiles of 16 x 16 pixels are 62,500."""
MAX_ENTRIES = 4_000
"""Of a TIFF's directory."""
MAX_EXTENSIONS = 10_000
"""Sub-blocks of 255 bytes before a GIF's first picture."""
_STRIPS_AND_TILES = frozenset({273, 279, 324, 325})
_TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


def too_complex(data: bytes) -> bool:
    """Return whether an image has more parts than any that a camera or an editor writes."""
    if data[:2] == b"\xff\xd8":
        return _jpeg(data)
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return _exceeds(_png(data), MAX_CHUNKS)
    if data[:4] == b"RIFF":
        return _exceeds(_riff(data), MAX_CHUNKS)
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return _tiff(data)
    return data[:4] == b"GIF8" and _exceeds(_gif(data), MAX_EXTENSIONS)


def _exceeds(parts: Iterator[object], most: int) -> bool:
    return any(number >= most for number, _ in enumerate(parts))


def _jpeg(data: bytes) -> bool:
    scans = 0
    for number, (marker, _, _) in enumerate(segments(data)):
        scans += marker == SOS
        if number >= MAX_SEGMENTS or scans > MAX_SCANS:
            return True
    return False


def _png(data: bytes) -> Iterator[int]:
    at = 8
    while at + 8 <= len(data):
        yield at
        at += 12 + int.from_bytes(data[at : at + 4])


def _riff(data: bytes) -> Iterator[int]:
    at = 12
    while at + 8 <= len(data):
        yield at
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + size + size % 2


def _gif(data: bytes) -> Iterator[int]:
    # Header, screen, its colours, then extensions up to the first picture.
    at = 13 + (3 << (data[10] % 8 + 1) if len(data) > 10 and data[10] & 128 else 0)
    while data[at : at + 1] == b"!":
        at += 2
        while (size := data[at] if at < len(data) else 0) > 0:
            yield at
            at += 1 + size
        at += 1


def _tiff(data: bytes) -> bool:
    order, big = "little" if data[:2] == b"II" else "big", data[2:4] in (b"+\0", b"\0+")

    def number(at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], order)  # type: ignore[arg-type]

    width = 8 if big else 4
    start = number(8 if big else 4, width)
    entries = number(start, 8 if big else 2)
    if entries > MAX_ENTRIES:
        return True
    for index in range(entries):
        at = start + (8 if big else 2) + index * (20 if big else 12)
        tag, kind, count = number(at, 2), number(at + 2, 2), number(at + 4, width)
        if tag in _STRIPS_AND_TILES and count > MAX_TILES:
            return True
        if (
            kind != 2
            and kind != 7
            and kind != 1
            and count > MAX_TILES
            and count * _TYPE_SIZES.get(kind, 0) <= len(data)
        ):
            return True
    return False
