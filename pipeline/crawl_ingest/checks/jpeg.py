"""The segments of a JPEG file."""

from __future__ import annotations

import re
from collections.abc import Iterator

SOS = 0xDA
_EOI, _APP0, _SOF0, _SOF1, _SOF2, _DHT, _DQT, _DRI = 0xD9, 0xE0, 0xC0, 0xC1, 0xC2, 0xC4, 0xDB, 0xDD
_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7]")
_FRAMES = frozenset({_SOF0, _SOF1, _SOF2})
_LENGTHS = {_DRI: 4, _APP0: 16}
"""Of segments that have one length alone, with the two bytes of the length itself."""


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, position of its length, position after the segment) up to the end of the picture or of order.

    A scan's entropy-coded data is passed over; the end of the picture comes as (0xD9, position, position).
    """
    at = 2
    while data[at : at + 1] == b"\xff" and at + 1 < len(data):
        marker = data[at + 1]
        if marker == _EOI:
            yield marker, at + 2, at + 2
            return
        end = at + 2 + max(2, int.from_bytes(data[at + 2 : at + 4]))
        yield marker, at + 2, end
        at = end
        if marker == SOS:
            found = _SCAN_END.search(data, end)
            at = found.start() if found else len(data)


def is_bare(data: bytes) -> bool:
    """Return whether a JPEG holds its picture and nothing else.

    Only the segments that a picture needs are allowed, each with the length its contents give it, and tables once and
    only if they are used: metadata, comments, thumbnails, reserved segments, bytes between segments and after the end
    (a second picture, an archive) make it False.
    """
    used: list[int] = []
    frames = scans = 0
    quantisation: list[int] = []
    fresh: set[int] = set()
    for number, (marker, at, end) in enumerate(segments(data)):
        body = data[at + 2 : end]
        if marker == _EOI:
            once = len(set(quantisation)) == len(quantisation) and set(quantisation) <= set(used)
            return end == len(data) and frames == 1 and scans > 0 and once
        if end > len(data) or end - at != _LENGTHS.get(marker, end - at):
            return False
        if marker == _APP0:
            # Version 1.x, a known unit, no thumbnail; the densities are the four bytes that nothing decides.
            if number or body[:6] != b"JFIF\0\1" or body[7] > 2 or body[12:] != b"\0\0":
                return False
        elif marker in _FRAMES:
            frames += 1
            used = list(body[8::3])
            if len(body) < 6 or len(body) != 6 + 3 * body[5]:
                return False
        elif marker == SOS:
            scans, fresh = scans + 1, set()
            if not body or len(body) != 4 + 2 * body[0]:
                return False
        elif marker == _DQT:
            quantisation += (ids := _quantisation(body))
            if not ids:
                return False
        elif marker == _DHT:
            # A progressive picture may bring new ones for each scan.
            ids = _huffman(body)
            if not ids or fresh.intersection(ids) or len(set(ids)) < len(ids):
                return False
            fresh.update(ids)
        elif marker != _DRI:
            return False
    return False


def _quantisation(body: bytes) -> list[int]:
    """Return the places of the tables in a DQT segment, none if it holds something else (ITU-T T.81, B.2.4.1)."""
    at, ids = 0, []
    while at < len(body):
        ids.append(body[at] & 15)
        at += 1 + 64 * (1 + (body[at] >> 4))
    return ids if at == len(body) and max(body[:1], default=99) >> 4 <= 1 and max(ids, default=9) <= 3 else []


def _huffman(body: bytes) -> list[int]:
    """Return the classes and places of the tables in a DHT segment, none if it holds something else (B.2.4.2)."""
    at, ids = 0, []
    while at + 17 <= len(body):
        ids.append(body[at])
        at += 17 + sum(body[at + 1 : at + 17])
    fitting = all(place >> 4 <= 1 and place & 15 <= 3 for place in ids)
    return ids if at == len(body) and fitting else []
