"""A model at work: images to masks, probabilities and class names."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, overload

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.models.resize import upsample
from pipeline.predict.images import AnyImage, Pixels, rgb_pixels
from pipeline.predict.network import Model
from pipeline.predict.result import Segmentation
from pipeline.predict.tiles import Band, ramp, rows_of_tiles

SMALLEST = 32
"""Shorter images are continued to the right and below; the deepest maps of a SegFormer would vanish."""


class Segmenter:
    """Callable from an image, or a list of them, to Segmentation; made by `load_segmenter`."""

    def __init__(self, model: Model, device: str = "") -> None:
        if len(model.class_names) > 256:
            raise ValueError(f"{model.path} has {len(model.class_names)} classes, a mask of 8 bits holds at most 256")
        self.model = model
        self.class_names = model.class_names
        self.device = _device(device)
        model.network.to(self.device).eval()

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a string is a sequence of strings, too
        self,
        images: AnyImage,
        *,
        tile: int = ...,
        overlap: int | None = ...,
        batch_size: int = ...,
        probabilities: bool = ...,
    ) -> Segmentation: ...

    @overload
    def __call__(
        self,
        images: Sequence[AnyImage],
        *,
        tile: int = ...,
        overlap: int | None = ...,
        batch_size: int = ...,
        probabilities: bool = ...,
    ) -> list[Segmentation]: ...

    def __call__(
        self,
        images: AnyImage | Sequence[AnyImage],
        *,
        tile: int = 0,
        overlap: int | None = None,
        batch_size: int = 8,
        probabilities: bool = True,
    ) -> Segmentation | list[Segmentation]:
        """Return the segmentation of an image, or a list of them for a list or a tensor (B, 3, H, W).

        An image is a path, a Pillow image, an array or a tensor, see `images.rgb_pixels`. Masks have the images' own
        sizes; EXIF orientation is applied first. `tile` cuts images that are larger into tiles of that side which
        share `overlap` pixels (a quarter of the side by default); 0 takes every image whole. `probabilities` off
        leaves them out, which saves memory. Raises ValueError for what is no image.
        """
        check_tiling(tile, overlap)
        several: Sequence[Any] = images if _is_list(images) else [images]  # type: ignore[assignment]
        pixels = [rgb_pixels(image) for image in several]
        results: list[Segmentation] = []
        for _, group in groupby(pixels, key=lambda image: image.shape):
            same = list(group)
            for start in range(0, len(same), batch_size):
                results += self.segment(same[start : start + batch_size], tile, overlap, probabilities)
        return results if _is_list(images) else results[0]

    def segment(
        self, images: Sequence[Pixels], tile: int = 0, overlap: int | None = None, probabilities: bool = False
    ) -> list[Segmentation]:
        """Return the segmentations of images of one size, computed together; arguments as for `__call__`."""
        batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        with torch.inference_mode():
            if tile and max(batch.shape[-2:]) > tile:
                step = tile // 4 if overlap is None else overlap
                return [self._tiled(image, tile, step, probabilities) for image in batch]
            return self._decided(self._logits(batch, whole=True), probabilities)

    def _logits(self, images: Tensor, whole: bool) -> Tensor:
        """Return logits (B, N, H, W) at the size of images (B, 3, H, W)."""
        network, size = self.model.network, images.shape[-2:]
        if whole and network.resize is not None:
            images = network.resize(images)
        ready = images.to(self.device).float()
        height, width = ready.shape[-2:]
        lacking = [max(0, SMALLEST - width), max(0, SMALLEST - height)]
        if any(lacking):
            ready = F.pad(ready, (0, lacking[0], 0, lacking[1]), mode="replicate")
            full = upsample(network(ready), ready.shape[-2:])[..., :height, :width]
            return upsample(full, size)
        return upsample(network(ready), size)

    def _decided(self, logits: Tensor, keep: bool) -> list[Segmentation]:
        network = self.model.network
        masks, probabilities = network.decide(logits), network.probabilities(logits)
        confidence = probabilities.gather(1, masks[:, None])[:, 0]
        kept = probabilities if keep else probabilities[:, :0]
        parts = masks.to(torch.uint8), kept, confidence
        arrays = [part.cpu().numpy() for part in parts]
        return [Segmentation(m, p, c, self.class_names) for m, p, c in zip(*arrays, strict=True)]

    def _tiled(self, image: Tensor, tile: int, overlap: int, keep: bool) -> Segmentation:
        height, width = image.shape[-2:]
        rows = list(rows_of_tiles(height, width, tile, overlap))
        weight = ramp(min(tile, height), min(tile, width), overlap).to(self.device)
        band: Band | None = None
        strips: list[Segmentation] = []
        for number, row in enumerate(rows):
            for top, left in row:
                logits = self._logits(image[None, :, top : top + tile, left : left + tile], whole=False)[0]
                band = band or Band(logits.shape[0], width, self.device)
                band.add((top, left), logits, weight)
            assert band is not None
            bottom = rows[number + 1][0][0] if number + 1 < len(rows) else height
            strips += self._decided(band.finish(bottom)[None], keep)
        return Segmentation(
            np.concatenate([strip.mask for strip in strips]),
            np.concatenate([strip.probabilities for strip in strips], axis=1),
            np.concatenate([strip.confidence for strip in strips]),
            self.class_names,
        )


def _is_list(images: Any) -> bool:
    return images.ndim == 4 if isinstance(images, Tensor) else isinstance(images, list | tuple)


def check_tiling(tile: int, overlap: int | None) -> None:
    """Raise ValueError for tiles that are too small or overlap by more than half."""
    if tile and tile < SMALLEST:
        raise ValueError(f"tile is {tile} pixels, expected at least {SMALLEST}, or 0 for whole images")
    if overlap is not None and not 0 <= overlap <= tile // 2:
        raise ValueError(f"overlap is {overlap} pixels, expected 0 to {tile // 2}, half of tile")


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device `{name}` cannot be used ({reason}); use cpu, or leave it out") from None
    return device
