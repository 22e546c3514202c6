"""What is accepted as an image, decided by decoding the bytes and never by a header.

Original bytes are stored if they are an RGB JPEG that holds nothing but its picture; everything else is decoded,
turned upright, laid on white where transparent, stripped of metadata (GPS!) and written again as JPEG of high
quality. The Fourier discriminator sees every image through its own resize, so that it cannot tell which happened.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass
from typing import Protocol

from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.crawl_ingest.checks.counts import too_complex
from pipeline.crawl_ingest.checks.jpeg import is_bare
from pipeline.runtime.perceptual_hash import ENOUGH, perceptual_hash

QUALITY = 95
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


class Limits(Protocol):
    """What the settings of `crawl_ingest` say about images; the processes that decode know no others."""

    @property
    def max_pixels(self) -> int:
        """Width times height, at most."""
        ...

    @property
    def min_side(self) -> int:
        """Pixels of the shorter side, at least."""
        ...


class IntakeError(Exception):
    """The bytes are not an acceptable image; `reason` is one of reasons.FAILED."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Accepted:
    """An image to store: its bytes, their sha256, size in pixels, and 64-bit perceptual hash in hex."""

    data: bytes
    image_id: str
    width: int
    height: int
    phash: str


def accept(data: bytes, settings: Limits) -> Accepted:
    """Return the image to store. Raises IntakeError."""
    if not data:
        raise IntakeError("empty")
    if too_complex(data):
        raise IntakeError("too_complex")
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            return _decode(data, settings)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise IntakeError("too_many_pixels") from None
        except UnidentifiedImageError:
            raise IntakeError("not_an_image") from None
        except MemoryError:
            raise IntakeError("decoder_limit") from None
        except OSError as error:
            raise IntakeError("truncated" if "truncated" in str(error) else "not_an_image") from None
        except IntakeError:
            raise
        except Exception:
            # Decoders raise almost anything on hostile bytes (struct.error, KeyError ...), and one image must
            # not end a shard.
            raise IntakeError("not_an_image") from None


def _decode(data: bytes, settings: Limits) -> Accepted:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        if image.width * image.height > settings.max_pixels:
            raise IntakeError("too_many_pixels")
        if min(image.size) < settings.min_side:
            raise IntakeError("too_small")
        if image.format == "JPEG" and image.mode == "RGB" and is_bare(data):
            size = image.size
            # All of the data is read and checked; colours and pixels that nobody asks for here are not computed.
            image.draft("L", (ENOUGH, ENOUGH))
            image.load()
            return _accepted(data, size, image)
        upright = _rgb(ImageOps.exif_transpose(image))
    return _accepted(_encode(upright), upright.size, upright)


def _accepted(stored: bytes, size: tuple[int, int], image: Image.Image) -> Accepted:
    return Accepted(stored, hashlib.sha256(stored).hexdigest(), *size, perceptual_hash(image))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        # Sixteen bits would be clipped to white instead of scaled.
        image = image.point(lambda value: value * (1 / 257)).convert("L")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        image = white
    return image.convert("RGB")


def _encode(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    clean = Image.new("RGB", image.size)
    clean.paste(image)
    clean.save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    return buffer.getvalue()
