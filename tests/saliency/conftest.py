"""Images of the drawn data set, and the real network where it is installed."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

from pipeline.datasets.readers.voc import Item, read_split
from pipeline.saliency import U2Net
from pipeline.saliency.weights import known


@pytest.fixture
def items(minivoc: Path) -> list[Item]:
    """Training images of the small MiniVOC."""
    return read_split(minivoc, "train")


@pytest.fixture(scope="session")
def u2net() -> U2Net:
    """The released network; skips only where its package or ONNX Runtime is not installed at all."""
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    pin = known("u2netp")
    try:
        distribution(pin.package.split("==")[0])
    except PackageNotFoundError:
        pytest.skip(f"{pin.package}, which carries the weights, is not installed")
    return U2Net()
