"""Fourier domain discriminator and selection of web images. `python -m pipeline.fourier_filter --help`."""

from __future__ import annotations

from typing import Any

STAGE_VERSION = 1

_PUBLIC = {
    "log_amplitude": "pipeline.fourier_filter.spectra",
    "radial_profile": "pipeline.fourier_filter.spectra",
    "Discriminator": "pipeline.fourier_filter.discriminator",
    "fit_discriminator": "pipeline.fourier_filter.fit",
    "select": "pipeline.fourier_filter.selection",
    "select_images": "pipeline.fourier_filter.candidates",
}


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        import importlib

        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(name)
