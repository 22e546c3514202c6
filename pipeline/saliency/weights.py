"""Which file holds a model's released weights, and where it lies."""

from __future__ import annotations

from pathlib import Path

from pipeline.config import nearest
from pipeline.runtime.weights import Weights, WeightsError, check_weights, known_weights, packaged_weights
from pipeline.saliency import SaliencyError

FILES = {"u2netp": "u2netp.onnx"}
"""Name of a model's file in weights.lock."""


def known(model: str) -> Weights:
    """Return the pin of a model. Raises SaliencyError for an unknown name."""
    if model not in FILES:
        raise SaliencyError(f"saliency model `{model}` is not known; {nearest(model, FILES)}")
    return known_weights(FILES[model])


def find_weights(model: str, file: Path | None = None) -> Path:
    """Return the path of a model's ONNX file: `file` if given, else the one in the installed package.

    Raises SaliencyError if the file is not there or is not the pinned one.
    """
    pin = known(model)
    try:
        if file is None:
            return packaged_weights(pin.file)
        check_weights(file, name=pin.file)
    except WeightsError as error:
        raise SaliencyError(f"weights {error}, or name the file with --weights") from None
    return file
