"""Tensors as safetensors files hold them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def ready_to_save(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors without gradient, on the CPU and contiguous, for `save_file`; the given ones stay."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
