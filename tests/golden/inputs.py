"""Inputs and tolerances of ciss_methods.md section 9."""

import math

import pytest
import torch
from torch import Tensor


def S(shape: tuple[int, ...], a: float, b: float, dtype: torch.dtype = torch.float64) -> Tensor:
    """The tensor whose k-th element in row-major order is sin(a k + b)."""
    return torch.sin(a * torch.arange(math.prod(shape), dtype=torch.float64) + b).view(shape).to(dtype)


def near(*expected: float):
    """What a double-precision reference value must be met with (2e-6 relative, 1e-6 absolute)."""
    return pytest.approx(expected[0] if len(expected) == 1 else list(expected), rel=2e-6, abs=1e-6)


def near_single(*expected: float):
    """What a single-precision reference value must be met with (1e-5 relative, 1e-6 absolute)."""
    return pytest.approx(expected[0] if len(expected) == 1 else list(expected), rel=1e-5, abs=1e-6)


NEW = 2 * S((1, 5, 2, 2), 1.0, 0.5)
OLD = 2 * S((1, 3, 2, 2), 0.7, 0.1)
LAB = torch.tensor([[[0, 3], [4, 255]]])


def L(shape: tuple[int, int, int], values: tuple[int, ...] = (0, 0, 0, 4, 5, 255), shift: int = 0) -> Tensor:
    """The integer map (B, H, W) of assembled_methods.md: element k is values[(k // 3 + k // W + shift) mod n]."""
    k = torch.arange(math.prod(shape))
    index = (k // 3 + k // shape[2] + shift) % len(values)
    return torch.tensor(values)[index].view(shape)


def assert_row(found: dict[str, float], expected: dict[str, float]) -> None:
    """Compare every number of a row of assembled_methods.md and the set of names (1e-5 relative, 1e-6 absolute)."""
    assert found.keys() == expected.keys()
    wrong = {name: (found[name], value) for name, value in expected.items() if found[name] != near_single(value)}
    assert not wrong, f"found and expected: {wrong}"
