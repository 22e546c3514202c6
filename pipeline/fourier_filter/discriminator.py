"""The discriminator: does an image's amplitude spectrum look like the data set's or like the web's?"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.artifacts import ArtifactError, atomic_path
from pipeline.config import Discriminator as Settings
from pipeline.fourier_filter.pictures import centre
from pipeline.fourier_filter.spectra import amplitude, log_amplitude

BATCH = 256


def small_network() -> nn.Module:
    """Return a small CNN with two outputs for spectra on a CPU."""
    widths = (16, 32, 64)
    layers: list[nn.Module] = []
    channels = 3
    for width in widths:
        layers += [
            nn.Conv2d(channels, width, 3, 2, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.2), nn.Linear(4 * channels, 2))


def efficientnet_b0() -> nn.Module:
    """Return EfficientNet-B0 with two outputs and no pretrained weights: spectra are not natural images."""
    from torchvision.models import efficientnet_b0 as build

    network: nn.Module = build(weights=None, num_classes=2)
    return network


NETWORKS: dict[str, Callable[[], nn.Module]] = {"small": small_network, "efficientnet_b0": efficientnet_b0}


class Discriminator(nn.Module):
    """Spectrum, standardisation per frequency and channel, network, temperature (web_wilss.md 6.8).

    Output 0 is "data set", output 1 "web"; the score of an image is log(p_dataset / p_web). `domain="pixel"`
    feeds pixels instead of spectra: the control experiment.
    """

    def __init__(self, settings: Settings, domain: str = "fourier") -> None:
        super().__init__()
        self.settings, self.domain = settings, domain
        self.network = NETWORKS[settings.network]()
        shape = (3, settings.crop, settings.crop)
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("deviation", torch.ones(shape))
        self.register_buffer("temperature", torch.ones(()))

    def features(self, images: Tensor) -> Tensor:
        """Return what is standardised: spectra, or pixels for the control."""
        if self.domain == "pixel":
            return images
        return log_amplitude(images) if self.settings.amplitude == "log" else amplitude(images)

    def standardise_by(self, pictures: Tensor) -> None:
        """Take mean and deviation per frequency and channel from data set pictures (uint8)."""
        features = self.features(centre(pictures, self.settings.crop))
        self.get_buffer("mean").copy_(features.mean(dim=0))
        self.get_buffer("deviation").copy_(features.std(dim=0) + 1e-6)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, 2) of images (B, 3, crop, crop) in [0, 1]."""
        features = (self.features(images) - self.get_buffer("mean")) / self.get_buffer("deviation")
        logits: Tensor = self.network(features)
        return logits

    @torch.inference_mode()
    def scores(self, pictures: Tensor) -> Tensor:
        """Return log(p_dataset / p_web), (N,), of uint8 pictures (N, 3, side, side), calibrated."""
        self.eval()
        out = []
        for start in range(0, len(pictures), BATCH):
            logits = self(centre(pictures[start : start + BATCH], self.settings.crop))
            out.append((logits[:, 0] - logits[:, 1]) / self.get_buffer("temperature"))
        return torch.cat(out) if out else torch.zeros(0)

    def save(self, path: Path, about: dict[str, Any]) -> None:
        """Write weights, statistics and temperature as safetensors, the settings in the header."""
        header = {"settings": self.settings.model_dump(), "domain": self.domain, **about}
        tensors = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata={"about": json.dumps(header, sort_keys=True)})

    @classmethod
    def load(cls, path: Path) -> Discriminator:
        """Return a saved discriminator. Raises ArtifactError if the file is not one."""
        try:
            with safe_open(str(path), framework="pt") as file:
                about = json.loads(file.metadata()["about"])
                model = cls(Settings(**about["settings"]), about["domain"])
                model.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
            first = str(error).splitlines()[0]
            raise ArtifactError(f"{path} is not a discriminator of this pipeline ({first}); fit it again") from None
        return model.eval()
