"""SegFormer by size: Mix Transformer B0-B5 with either head, and a small one that trains from scratch."""

from __future__ import annotations

from functools import partial

from pipeline.config import nearest
from pipeline.models.mix_transformer import MixTransformer, MixTransformerSize
from pipeline.models.registry import Parts, register
from pipeline.models.segformer_head import OfficialHead, SatsHead

_WIDE = (64, 128, 320, 512)
SIZES = {
    "b0": MixTransformerSize((32, 64, 160, 256), (2, 2, 2, 2)),
    "b1": MixTransformerSize(_WIDE, (2, 2, 2, 2)),
    "b2": MixTransformerSize(_WIDE, (3, 4, 6, 3)),
    "b3": MixTransformerSize(_WIDE, (3, 4, 18, 3)),
    "b4": MixTransformerSize(_WIDE, (3, 8, 27, 3)),
    "b5": MixTransformerSize(_WIDE, (3, 6, 40, 3)),
}
_OFFICIAL_WIDTH = {"b0": 256, "b1": 256}


def segformer(size: str, *, head: str = "sats", drop_path: float = 0.1) -> Parts:
    """Return body and head of SegFormer `b0`..`b5` with random weights (ciss_methods.md 3.2).

    `head` is `sats` (linear, width 256) or `official`. Raises ValueError for another size or head.
    """
    if size not in SIZES:
        raise ValueError(f"unknown SegFormer size `{size}`; {nearest(size, SIZES)}")
    if head not in ("sats", "official"):
        raise ValueError(f"unknown SegFormer head `{head}`, expected sats or official")
    dims = SIZES[size].dims
    body = MixTransformer(SIZES[size], drop_path)
    return body, SatsHead(dims) if head == "sats" else OfficialHead(dims, _OFFICIAL_WIDTH.get(size, 768))


for _size in SIZES:
    register(f"segformer_{_size}")(partial(segformer, _size))
