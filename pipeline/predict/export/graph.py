"""A model as one graph, from pixels to decisions, in ONNX and TorchScript."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.predict.network import Network

OPSET = 18
INPUT, OUTPUTS = "images", ("mask", "logits")
_AXES = {
    INPUT: {0: "batch", 1: "height", 2: "width"},
    "mask": {0: "batch", 1: "height", 2: "width"},
    "logits": {0: "batch", 2: "height", 3: "width"},
}
_ASSEMBLY = "torch.onnx._internal.torchscript_exporter.onnx_proto_utils._add_onnxscript_fn"


class Graph(nn.Module):
    """RGB images (B, H, W, 3), uint8, to masks (B, H, W), uint8, and logits (B, N, H, W), float32."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return (mask, logits) at the images' size."""
        logits = self.network(images.permute(0, 3, 1, 2))
        logits = F.interpolate(logits, size=images.shape[1:3], mode="bilinear", align_corners=False)
        return self.network.decide(logits).to(torch.uint8), logits


def example() -> Tensor:
    """Return two images (2, 96, 128, 3) to trace with."""
    return torch.randint(0, 256, (2, 96, 128, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def write_onnx(network: Network, path: Path) -> None:
    """Write a model as ONNX, opset OPSET, for batches and sizes of any number.

    Raises ValueError naming what of the network ONNX cannot express.
    """
    try:
        with _silent(), _without_onnx_package(), torch.no_grad():
            torch.onnx.export(
                Graph(network).eval(), (example(),), str(path), dynamo=False, opset_version=OPSET,
                input_names=[INPUT], output_names=list(OUTPUTS), dynamic_axes=_AXES,
            )  # fmt: skip
    except (RuntimeError, torch.onnx.OnnxExporterError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ValueError(f"the network cannot be written as ONNX ({reason})") from None


def torchscript(network: Network) -> bytes:
    """Return a model as a TorchScript file that `torch.jit.load` opens. Raises ValueError if it cannot be traced."""
    buffer = io.BytesIO()
    try:
        with _silent(), torch.no_grad():
            torch.jit.save(torch.jit.trace(Graph(network).eval(), (example(),), check_trace=False), buffer)
    except RuntimeError as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ValueError(f"the network cannot be traced ({reason})") from None
    return buffer.getvalue()


@contextmanager
def _without_onnx_package() -> Iterator[None]:
    """Let torch write ONNX where the package `onnx` is not installed.

    It serialises the graph itself and asks for the package only to insert functions of onnxscript, of which there are
    none here: that last pass is left out. The torch version is pinned, and every export is compared with the model.
    """
    if find_spec("onnx") is not None:
        yield
        return
    with patch(_ASSEMBLY, lambda model_bytes, custom_opsets: model_bytes):
        yield


@contextmanager
def _silent() -> Iterator[None]:
    # Warnings about sizes that a trace keeps: whether it does is tested on images of other sizes.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
