"""Fourier domain discriminator and selection of web images. `python -m pipeline.fourier_filter --help`."""

from pipeline.runtime.lazy import lazy_names

STAGE_VERSION = 1

__getattr__ = lazy_names(
    __name__,
    {
        "log_amplitude": "spectra",
        "radial_profile": "spectra",
        "Discriminator": "discriminator",
        "fit_discriminator": "fit",
        "select": "selection",
        "select_images": "candidates",
    },
)
