"""Opening images and masks by reference: `path/to/file` or `path/to/shard.tar::member`."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.datasets import DatasetError

_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    ArithmeticError,
    LookupError,
    EOFError,
    struct.error,
    zlib.error,
    tarfile.TarError,
    Image.DecompressionBombError,
)
"""What Pillow and tarfile raise on damaged bytes; a broken PNG alone has five kinds."""


def read_bytes(uri: str) -> bytes:
    """Return the bytes of a file or a shard member.

    Raises DatasetError naming the file if it is missing, unreadable, or a tar that is damaged or cut short.
    """
    path, _, member = uri.partition("::")
    try:
        return _read_member(path, member) if member else Path(path).read_bytes()
    except FileNotFoundError:
        advice = "rerun the ingestion that writes the shard" if member else "check the data set's root and splits"
        raise DatasetError(f"image {uri} does not exist; {advice}") from None
    except DatasetError:
        raise
    except OSError as error:
        raise DatasetError(f"image {uri} cannot be read ({error.strerror or error}); check the disk") from None


def open_image(uri: str) -> Image.Image:
    """Return an upright RGB image. Raises DatasetError naming the file if it cannot be decoded."""
    with _named(f"image {uri}", "replace or remove it"), Image.open(io.BytesIO(_content(uri))) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def open_mask(path: str, n_classes: int = 255) -> NDArray[np.uint8]:
    """Return a mask (H, W) of class ids and 255. Raises DatasetError for a corrupt file or an unknown id.

    `n_classes` is the highest class id that may occur.
    """
    with _named(f"mask {path}", "replace it"):
        content = _content(path)
        with Image.open(io.BytesIO(content)) as image:
            # Decoding ignores PNG's checksums: some flipped bits would become wrong labels without a word.
            image.verify()
        with Image.open(io.BytesIO(content)) as image:
            if image.mode not in ("P", "L"):
                raise DatasetError(f"mask {path} has mode {image.mode}, expected a palette or grey PNG of class ids")
            mask = np.asarray(image)
    wrong = mask[(mask > n_classes) & (mask != 255)]
    if wrong.size:
        raise DatasetError(f"mask {path} holds value {wrong.max()}, expected 0..{n_classes} or 255")
    return mask


def _content(uri: str) -> bytes:
    content = read_bytes(uri)
    if not content:
        raise ValueError("the file is empty")
    return content


@contextmanager
def _named(what: str, advice: str) -> Iterator[None]:
    try:
        yield
    except DatasetError:
        raise
    except UnidentifiedImageError:
        # Pillow's own message holds a memory address.
        raise DatasetError(f"{what} cannot be decoded (no known image format); {advice}") from None
    except _DAMAGE as error:
        raise DatasetError(f"{what} cannot be decoded ({_reason(error)}); {advice}") from None


def _read_member(path: str, member: str) -> bytes:
    stat = os.stat(path)
    try:
        offsets = _members(path, stat.st_mtime_ns, stat.st_size)
    except (tarfile.TarError, ValueError, EOFError, struct.error) as error:
        raise DatasetError(f"shard {path} is damaged ({_reason(error)}); rerun the ingestion that writes it") from None
    if member not in offsets:
        raise DatasetError(f"{path} holds no member {member}; rerun the ingestion that writes it")
    offset, size = offsets[member]
    with open(path, "rb") as file:
        file.seek(offset)
        content = file.read(size)
    if len(content) != size:
        raise DatasetError(
            f"shard {path} ends inside member {member} ({len(content)} of {size} bytes); "
            "rerun the ingestion that writes it"
        )
    return content


def _reason(error: BaseException) -> str:
    """Return the library's reason as one line."""
    return " ".join(str(error).split()) or type(error).__name__


@lru_cache(maxsize=256)
def _members(path: str, mtime: int, size: int) -> dict[str, tuple[int, int]]:
    # "r:" alone: in a compressed archive the offsets would not be those of the file.
    with tarfile.open(path, "r:") as tar:
        return {member.name: (member.offset_data, member.size) for member in tar if member.isfile()}
