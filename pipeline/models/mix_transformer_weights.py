"""ImageNet weights of the Mix Transformer as the SegFormer authors publish them (`mit_b0.pth` .. `mit_b5.pth`)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

_PARTS = {
    "patch_embed": "embedding",
    "block": "blocks",
    "norm": "norm",
}
_NAME = re.compile(r"(patch_embed|block|norm)([1-4])\.(.+)")


def convert(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return published encoder weights under the names of MixTransformer; the ImageNet classifier is dropped.

    Raises ValueError for a name of another layout.
    """
    return {rename(name): value for name, value in weights.items() if not name.startswith("head.")}


def rename(name: str) -> str:
    """Return our name of an encoder's tensor. Raises ValueError for a name of another layout."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"`{name}` is not a name of the SegFormer authors' encoder, as block1.0.attn.q.weight is")
    part, stage, rest = match.groups()
    return f"stages.{int(stage) - 1}.{_PARTS[part]}.{rest}".replace(".dwconv.dwconv.", ".dwconv.")
