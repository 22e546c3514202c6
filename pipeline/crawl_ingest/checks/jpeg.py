"""The segments of a JPEG file."""

from __future__ import annotations

import re

_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7]")
_SOS, _EOI, _APP0, _COMMENT = 0xDA, 0xD9, 0xE0, 0xFE
_APPLICATION = range(_APP0, 0xF0)
_JFIF_LENGTH = 16


def is_bare(data: bytes) -> bool:
    """Return whether a JPEG holds its picture and nothing else.

    Metadata, comments, a thumbnail, and bytes after the end (a second picture, an archive) make it False.
    """
    at = 2
    while data[at : at + 1] == b"\xff" and at + 1 < len(data):
        marker = data[at + 1]
        if marker == _EOI:
            return at + 2 == len(data)
        length = int.from_bytes(data[at + 2 : at + 4])
        plain_header = marker == _APP0 and data[at + 4 : at + 9] == b"JFIF\0" and length == _JFIF_LENGTH
        if marker == _COMMENT or (marker in _APPLICATION and not plain_header):
            return False
        at += 2 + length
        if marker == _SOS:
            end = _SCAN_END.search(data, at)
            at = end.start() if end else len(data)
    return False
