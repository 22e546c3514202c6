"""Opening images and masks by reference: `path/to/file` or `path/to/shard.tar::member`."""

from __future__ import annotations

import io
import os
import tarfile
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.datasets import DatasetError


def read_bytes(uri: str) -> bytes:
    """Return the bytes of a file or a shard member. Raises DatasetError if it is not there."""
    path, _, member = uri.partition("::")
    try:
        if not member:
            return Path(path).read_bytes()
        stat = os.stat(path)
        offsets = _members(path, stat.st_mtime_ns, stat.st_size)
        if member not in offsets:
            raise DatasetError(f"{path} holds no member {member}; rerun the ingestion that writes it")
        offset, size = offsets[member]
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(size)
    except FileNotFoundError:
        raise DatasetError(f"image {uri} does not exist; check the data set's root and splits") from None


def open_image(uri: str) -> Image.Image:
    """Return an upright RGB image. Raises DatasetError naming the file if it cannot be decoded."""
    try:
        with Image.open(io.BytesIO(read_bytes(uri))) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"image {uri} cannot be decoded ({error}); replace or remove it") from None


def open_mask(path: str, n_classes: int = 255) -> NDArray[np.uint8]:
    """Return a mask (H, W) of class ids and 255. Raises DatasetError for a corrupt file or an unknown id.

    `n_classes` is the highest class id that may occur.
    """
    try:
        with Image.open(io.BytesIO(read_bytes(path))) as image:
            if image.mode not in ("P", "L"):
                raise DatasetError(f"mask {path} has mode {image.mode}, expected a palette or grey PNG of class ids")
            mask = np.asarray(image)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise DatasetError(f"mask {path} cannot be decoded ({error}); replace it") from None
    wrong = mask[(mask > n_classes) & (mask != 255)]
    if wrong.size:
        raise DatasetError(f"mask {path} holds value {wrong.max()}, expected 0..{n_classes} or 255")
    return mask


@lru_cache(maxsize=256)
def _members(path: str, mtime: int, size: int) -> dict[str, tuple[int, int]]:
    with tarfile.open(path) as tar:
        return {member.name: (member.offset_data, member.size) for member in tar if member.isfile()}
