"""What captioners with a torch model share: device, dtype and clean text."""

from __future__ import annotations

from typing import Any

import torch

from pipeline.config import Captioner as Settings


def device_of(settings: Settings) -> torch.device:
    """Return the device of the settings; `auto` is the GPU if there is one. Raises ValueError if it is absent."""
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("captioning.captioner.device is cuda, but torch sees no GPU; use auto or cpu")
    wants_gpu = settings.device == "cuda" or (settings.device == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if wants_gpu else "cpu")


def dtype_of(settings: Settings) -> Any:
    """Return the torch dtype of the settings, or `auto`."""
    return settings.dtype if settings.dtype == "auto" else getattr(torch, settings.dtype)


def to_device(value: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """Return a tensor on the device, floating ones in `dtype`; anything else as it is."""
    if not isinstance(value, torch.Tensor):
        return value
    value = value.to(device)
    return value.to(dtype) if value.is_floating_point() else value


def one_line(text: str, prompt: str) -> str:
    """Return the text on one line without a leading prompt."""
    line, prompt = " ".join(text.split()), " ".join(prompt.split())
    return line.removeprefix(prompt).strip() if prompt else line
