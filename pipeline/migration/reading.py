"""Tensors of an original checkpoint, read without running what a pickle asks for."""

from __future__ import annotations

import argparse
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core.multiarray import scalar
from torch import Tensor

from pipeline.artifacts import ArtifactError

_NUMBERS = (np.float16, np.float32, np.float64, np.int32, np.int64, np.bool_)
_ALLOWED: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    # Every original stores its best score, which numpy computed. A number is made of a type and bytes; types that
    # hold objects are not among these.
    scalar,
    (scalar, "numpy.core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(number)) for number in _NUMBERS),
    # Forks store their command line. It is a bag of attributes and calls nothing when it is filled.
    argparse.Namespace,
]
_WRAPPED = ("model_state", "state_dict", "model")
_UNUSED = re.compile(r"(localizer|pseudolabeler|scaler|scheduler|salient_detector)\.|.*num_batches_tracked$")
"""Parts that are of no use after training, or frozen parts that are no network of ours."""


def read_original(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint's network, without `module.`, localizer and saliency detector.

    Beside tensors and plain values a file may hold numpy numbers and an argparse.Namespace. Raises ArtifactError if
    it holds anything else, or no tensors by name.
    """
    if not path.is_file():
        raise ArtifactError(f"checkpoint {path} does not exist")
    try:
        with torch.serialization.safe_globals(_ALLOWED):
            loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError) as error:
        raise ArtifactError(f"checkpoint {path} is refused: {_reason(error)}") from None
    for key in _WRAPPED:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise ArtifactError(f"checkpoint {path} holds no tensors by name, nor under `model_state` or `state_dict`")
    bare = {str(key).removeprefix("module."): value for key, value in loaded.items()}
    return {key: value for key, value in bare.items() if not _UNUSED.match(key)}


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if named := re.search(r"(?:GLOBAL `?|[Uu]nsupported class `?|but got <class ')([\w.]+)", text):
        return (
            f"it holds a `{named[1]}`, and reading that can run code; tensors, plain values, numpy numbers "
            "and argparse.Namespace can be read. If you trust the file, store its `model_state` alone and import that"
        )
    return f"it cannot be read without running code ({text[:200]})"
