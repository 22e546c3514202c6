"""Writes a model in the formats asked for, compares each with the model, and adds the card."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline import __version__
from pipeline.predict.export.card import Exported, card
from pipeline.predict.export.graph import OPSET, Graph, torchscript, write_onnx
from pipeline.predict.export.segformer_folder import write_transformers
from pipeline.predict.images import Pixels, read_pixels
from pipeline.predict.listing import list_images
from pipeline.predict.loading import open_model
from pipeline.predict.network import Model
from pipeline.predict.out_folder import EXPORTED, OutFolder, check_out, out_folder
from pipeline.predict.segmenter import SMALLEST

Format = Literal["onnx", "torchscript", "transformers"]
FORMATS: tuple[Format, ...] = ("onnx", "torchscript", "transformers")
AGREEMENT, LOGITS, RELATIVE = 0.999, 1e-3, 1e-4
"""Share of equal mask pixels, and distance of logits (or of the largest one), up to which an export is the model."""
MOST = 50
"""Images that an export is compared on."""
Answer = Callable[[Tensor], tuple[NDArray[np.uint8], NDArray[np.float32]]]
"""Images (B, H, W, 3), uint8, to masks and logits."""


def export_model(
    path: Path,
    out: Path,
    formats: Sequence[Format] = ("onnx",),
    class_names: Sequence[str] = (),
    method: str = "",
    images: str = "",
) -> list[str]:
    """Write a model into the folder `out`; return a line per format on how close it is to the model.

    Every format is loaded again and compared with the model on up to 50 images: those of `images` (folder, glob or
    file), else random ones of five sizes. An export whose masks agree on less than 99.9 % of the pixels, or whose
    logits are further off than 1e-3 and than 1e-4 of the largest one, is an error, and nothing is written. Raises
    ValueError too for a format that cannot express the model.
    """
    check_out(out.absolute(), [path], EXPORTED)
    model = open_model(path, class_names=class_names, method=method)
    pictures = _pictures(images)
    with out_folder(out, [path], EXPORTED) as folder:
        exports = [_WRITERS[name](model, folder, pictures) for name in formats]
        command = " ".join(["python -m pipeline.predict", *map(shlex.quote, sys.argv[1:])])
        folder.write("README.md", card(model, exports, command, _versions(formats)))
        folder.write("classes.txt", "\n".join(model.class_names) + "\n")
        folder.adopt()
        folder.finish({"model": str(path), "formats": list(formats)})
    return [f"{export.format}: {', '.join(export.files)}; {export.compared}" for export in exports]


def _pictures(images: str) -> list[Pixels]:
    if images:
        listed = [item for item in list_images(images) if not item.skipped][:MOST]
        read = [read_pixels(item.path) for item in listed]
        small = [f"{p.shape[1]}x{p.shape[0]}" for p in read if min(p.shape[:2]) < SMALLEST]
        if small:
            raise ValueError(f"--images {images}: an image of {small[0]} pixels; exports take sides from {SMALLEST} on")
        return read
    rng = np.random.default_rng(0)
    sizes = [(96, 128), (64, 64), (133, 75), (50, 171), (160, 96)]
    coarse = [rng.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8) for height, width in sizes]
    return [
        np.kron(c, np.ones((16, 16, 1), np.uint8))[: h - h % 16, : w - w % 16]
        for c, (h, w) in zip(coarse, sizes, strict=True)
    ]


def _onnx(model: Model, folder: OutFolder, pictures: Iterable[Pixels]) -> Exported:
    from pipeline.runtime.onnx import open_session

    path = folder.folder / "model.onnx"
    write_onnx(model.network, path)
    session = open_session(path)

    def answer(images: Tensor) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        mask, logits = session.run(None, {"images": images.numpy()})
        return mask, logits

    how = [
        f"ONNX opset {OPSET}; input `images`: uint8 RGB (batch, height, width, 3) of any size from {SMALLEST} on, not "
        "normalised",
        "outputs `mask`: uint8 (batch, height, width); `logits`: float32 (batch, channels, height, width); "
        "normalisation and the method's decision are inside",
        *_resized(model),
    ]
    return Exported("onnx", [path.name], how, _compared(model, answer, pictures, "ONNX Runtime"))


def _torchscript(model: Model, folder: OutFolder, pictures: Iterable[Pixels]) -> Exported:
    path = folder.folder / "model.torchscript.pt"
    path.write_bytes(torchscript(model.network))
    loaded = torch.jit.load(path)

    def answer(images: Tensor) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        with torch.no_grad():
            mask, logits = loaded(images)
        return mask.numpy(), logits.numpy()

    how = [
        "`torch.jit.load(file)(images)` returns (mask, logits), of the same shapes and types as ONNX",
        *_resized(model),
    ]
    return Exported("torchscript", [path.name], how, _compared(model, answer, pictures, "torch.jit"))


def _transformers(model: Model, folder: OutFolder, pictures: Iterable[Pixels]) -> Exported:
    from transformers import AutoModelForSemanticSegmentation

    place = folder.folder / "transformers"
    write_transformers(model, place)
    network = AutoModelForSemanticSegmentation.from_pretrained(place, local_files_only=True).eval()
    ours = model.network

    def answer(images: Tensor) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        pixels = (images.permute(0, 3, 1, 2).float() / ours.per_unit - ours.mean) / ours.std
        with torch.no_grad():
            logits = network(pixels).logits
        logits = torch.nn.functional.interpolate(logits, size=images.shape[1:3], mode="bilinear", align_corners=False)
        return logits.argmax(dim=1).to(torch.uint8).numpy(), logits.numpy()

    how = [
        "`AutoModelForSemanticSegmentation.from_pretrained(folder)` and `AutoImageProcessor.from_pretrained(folder)`"
    ]
    files = [f"transformers/{path.name}" for path in sorted(place.iterdir())]
    return Exported("transformers", files, how, _compared(model, answer, pictures, "transformers"))


_WRITERS: dict[Format, Callable[[Model, OutFolder, Iterable[Pixels]], Exported]] = {
    "onnx": _onnx,
    "torchscript": _torchscript,
    "transformers": _transformers,
}


def _resized(model: Model) -> list[str]:
    if model.network.resize is None:
        return []
    return ["the model's image processor resizes images first; that is not inside, do it before"]


def _compared(model: Model, answer: Answer, pictures: Iterable[Pixels], runtime: str) -> str:
    """Return how close an export is to the model. Raises ValueError if it is another model."""
    reference = Graph(model.network).eval()
    equal = pixels = count = 0
    furthest = largest = 0.0
    for picture in pictures:
        images = torch.from_numpy(np.ascontiguousarray(picture))[None]
        with torch.no_grad():
            mask, logits = reference(images)
        their_mask, their_logits = answer(images)
        equal += int((mask.numpy() == their_mask).sum())
        pixels += mask.numel()
        furthest = max(furthest, float(np.abs(logits.numpy() - their_logits).max()))
        largest = max(largest, float(logits.abs().max()))
        count += 1
    share = f"{100 * equal / pixels:.4f} %"
    text = f"{runtime}, {count} images: {share} of the mask's pixels equal, logits within {furthest:.1e}"
    # A comparison with NaN is false, and then the export must fail.
    if not (equal >= AGREEMENT * pixels and furthest <= max(LOGITS, RELATIVE * largest)):
        raise ValueError(
            f"the export differs from the model ({text}; at least {AGREEMENT:.1%} and {LOGITS:g} expected)"
        )
    return text


def _versions(formats: Sequence[Format]) -> dict[str, str]:
    from importlib.metadata import version

    packages = {"onnx": "onnxruntime", "transformers": "transformers"}
    others = {packages[name]: version(packages[name]) for name in formats if name in packages}
    return {"pipeline": __version__, "torch": str(torch.__version__), **others}
