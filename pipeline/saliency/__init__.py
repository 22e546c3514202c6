"""Salient-object maps of a data set's training images. `python -m pipeline.saliency --help`."""

from pipeline.runtime.lazy import lazy_names

STAGE_VERSION = 1


class SaliencyError(ValueError):
    """The saliency model is missing or is not the pinned one; the message says what to do."""


__getattr__ = lazy_names(
    __name__,
    {
        "detect_saliency": "stage",
        "U2Net": "u2net",
        "find_weights": "weights",
    },
)
