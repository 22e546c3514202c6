"""Images of any kind as upright RGB pixels."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

if TYPE_CHECKING:
    from torch import Tensor

Pixels: TypeAlias = NDArray[np.uint8]
"""RGB, (H, W, 3)."""
AnyImage: TypeAlias = "str | Path | Image.Image | NDArray[np.uint8] | Tensor"

_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    ArithmeticError,
    LookupError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


class ImageError(ValueError):
    """An image cannot be read, or is none."""


def rgb_pixels(image: AnyImage) -> Pixels:
    """Return an image as RGB (H, W, 3), uint8.

    A path or Pillow image is turned upright by its EXIF orientation; a palette is resolved, grey becomes three equal
    channels, 16 bits are scaled to 8, and what is transparent lies on white, as in the ingested web images. An array
    is (H, W), (H, W, 3) or (H, W, 4), uint8; a tensor (1, H, W) or (3, H, W), uint8 or floating in 0..1.
    Raises ImageError for anything else and for a file that cannot be decoded.
    """
    if isinstance(image, str | Path):
        return read_pixels(Path(image))
    if isinstance(image, Image.Image):
        return _from_pillow(image)
    if isinstance(image, np.ndarray):
        return _from_array(image)
    if hasattr(image, "detach"):
        return _from_tensor(image)
    raise ImageError(f"an image is a path, a Pillow image, an array or a tensor, got {type(image).__name__}")


def read_pixels(path: Path) -> Pixels:
    """Return the first frame of an image file as `rgb_pixels`. Raises ImageError naming the file."""
    try:
        with Image.open(path) as image:
            return _from_pillow(image)
    except FileNotFoundError:
        raise ImageError(f"image {path} does not exist") from None
    except UnidentifiedImageError:
        # Pillow's own message repeats the path, or holds a memory address.
        raise ImageError(f"image {path} cannot be decoded (no known image format)") from None
    except ImageError as error:
        raise ImageError(f"image {path}: {error}") from None
    except _DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"image {path} cannot be decoded ({reason})") from None


def _from_pillow(image: Image.Image) -> Pixels:
    upright = ImageOps.exif_transpose(image)
    if upright.mode == "F":
        raise ImageError("its pixels are floating point numbers, whose range is unknown; save it with 8 bits")
    if upright.mode == "I" or upright.mode.startswith("I;16"):
        # Pillow would clip sixteen bits to white.
        upright = upright.point(lambda value: value * (1 / 257)).convert("L")
    if upright.has_transparency_data:
        white = Image.new("RGBA", upright.size, "white")
        white.alpha_composite(upright.convert("RGBA"))
        upright = white
    return np.array(upright.convert("RGB"))


def _from_array(array: NDArray[np.uint8]) -> Pixels:
    shape = array.shape
    if array.dtype != np.uint8 or len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 3, 4)):
        raise ImageError(f"an array is (H, W), (H, W, 3) or (H, W, 4) of uint8, got {shape} of {array.dtype}")
    if not array.size:
        raise ImageError(f"an image has at least one pixel, got {shape}")
    return _from_pillow(Image.fromarray(array[..., 0] if shape[2:] == (1,) else array))


def _from_tensor(tensor: Tensor) -> Pixels:
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 3) or not tensor.numel():
        raise ImageError(f"a tensor is (1, H, W) or (3, H, W), got {tuple(tensor.shape)}")
    if tensor.is_floating_point():
        low, high = float(tensor.min()), float(tensor.max())
        if not 0 <= low <= high <= 1:
            raise ImageError(f"a floating point tensor lies in 0..1, got {low:g}..{high:g}; pass uint8 for 0..255")
        tensor = (tensor.detach() * 255).round()
    elif str(tensor.dtype) != "torch.uint8":
        raise ImageError(f"a tensor is uint8, or floating point in 0..1, got {tensor.dtype}")
    pixels = tensor.detach().cpu().numpy().astype(np.uint8).transpose(1, 2, 0)
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))
