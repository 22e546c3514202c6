"""Published ImageNet weights for our bodies, from files of in-place ABN, torchvision and others.

Weights are read without unpickling objects, and every tensor of a file must find its place.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pipeline.artifacts import ArtifactError, file_sha256
from pipeline.models.dual import doubled

ABN_EPS = 1e-5
_CLASSIFIER = re.compile(r"(fc|classifier)\.")
_INPLACE_ABN = (
    (r"mod1\.conv1\.", "stem.conv."),
    (r"mod1\.bn1\.", "stem.norm."),
    (r"bn_out\.", "norm."),
    (r"mod(\d)\.block(\d+)\.(?:convs\.)?conv(\d)\.", "stages.{0-2}.{1-1}.conv{2}."),
    (r"mod(\d)\.block(\d+)\.(?:convs\.)?bn(\d)\.", "stages.{0-2}.{1-1}.norm{2}."),
    (r"mod(\d)\.block(\d+)\.proj_conv\.", "stages.{0-2}.{1-1}.project."),
    (r"mod(\d)\.block(\d+)\.proj_bn\.", "stages.{0-2}.{1-1}.project_norm."),
)
_TORCHVISION = (
    (r"conv1\.", "stem.conv."),
    (r"bn1\.", "stem.norm."),
    (r"layer(\d)\.(\d+)\.conv(\d)\.", "stages.{0-1}.{1}.conv{2}."),
    (r"layer(\d)\.(\d+)\.bn(\d)\.", "stages.{0-1}.{1}.norm{2}."),
    (r"layer(\d)\.(\d+)\.downsample\.0\.", "stages.{0-1}.{1}.project."),
    (r"layer(\d)\.(\d+)\.downsample\.1\.", "stages.{0-1}.{1}.project_norm."),
)
"""Published name -> ours; `{i-n}` stands for the i-th number of the name less n."""


def load_pretrained(body: nn.Module, path: str | Path, sha256: str | None = None) -> None:
    """Copy published ImageNet weights into a body, in place; `sha256` is the file's, in hexadecimal.

    For a ResNet or Wide-ResNet the layout (in-place ABN's or torchvision's) is told from the names; another body
    reads its own layout with a method `convert(weights)` that renames them. Raises ArtifactError for a missing or
    damaged file, another sha256, and tensors missing, left over or of another shape; the body is then unchanged.
    """
    weights = read_weights(path, sha256)
    try:
        rename: Callable[..., dict[str, Tensor]] = getattr(body, "convert", convert)
        converted = doubled(body, rename(weights))
        _check(converted, body.state_dict())
    except ValueError as error:
        raise ArtifactError(f"weights {path} do not fit: {error}; use the file of this backbone") from None
    # The files of some years hold no batch counter, which nothing but a momentum of None reads.
    body.load_state_dict(converted, strict=False)


def read_weights(path: str | Path, sha256: str | None = None) -> dict[str, Tensor]:
    """Return the tensors of a .safetensors file or of a file of torch.save, without unpickling objects.

    An outer {"state_dict": ...} and a "module." before every name are taken off. Raises ArtifactError for a
    missing or damaged file, another sha256 than the given one, or contents other than tensors by name.
    """
    if not Path(path).is_file():
        raise ArtifactError(f"weights {path} do not exist; download them and give their path")
    if sha256 is not None:
        found = file_sha256(path)
        if found != sha256.lower():
            raise ArtifactError(f"weights {path} have sha256 {found}, expected {sha256}; download them again")
    try:
        loaded: Any = load_file(path) if Path(path).suffix == ".safetensors" else _torch_load(path)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ArtifactError(f"weights {path} cannot be read as tensors alone ({reason}); check the file") from None
    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, Mapping) or not loaded or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise ArtifactError(f"weights {path} hold no tensors by name, nor a `state_dict` of them; check the file")
    bare = {str(key).removeprefix("module."): value for key, value in loaded.items()}
    assert len(bare) == len(loaded), "two names differ by `module.` alone"
    return bare


def _torch_load(path: str | Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def convert(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return published (wide) ResNet weights under our names; the ImageNet classifier is dropped.

    In-place ABN scales by |gamma| + 1e-5, so its norm weights become that (web_wilss.md 3.2); torchvision's stay.
    Raises ValueError for names of neither layout.
    """
    inplace = any(key.startswith("mod1.") for key in weights)
    converted = {}
    for key, value in weights.items():
        if _CLASSIFIER.match(key):
            continue
        name = rename(key, inplace)
        is_scale = inplace and re.search(r"norm\d?\.weight$", name)
        converted[name] = value.abs() + ABN_EPS if is_scale else value
    return converted


def rename(key: str, inplace: bool) -> str:
    """Return our name of a (wide) ResNet's tensor, from in-place ABN's or else torchvision's.

    Raises ValueError for a name of another layout.
    """
    for pattern, ours in _INPLACE_ABN if inplace else _TORCHVISION:
        match = re.match(pattern, key)
        if match:
            numbers = [int(group) for group in match.groups()]
            return _fill(ours, numbers) + key[match.end() :]
    raise ValueError(f"`{key}` is a name of neither in-place ABN's nor torchvision's ResNets")


def _fill(template: str, numbers: list[int]) -> str:
    return re.sub(r"\{(\d)-?(\d?)\}", lambda place: str(numbers[int(place[1])] - int(place[2] or 0)), template)


def _check(converted: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    counters = {key for key in expected if key.endswith("num_batches_tracked")}
    missing = sorted(expected.keys() - converted.keys() - counters)
    left_over = sorted(converted.keys() - expected.keys())
    for what, keys in (("missing", missing), ("left over", left_over)):
        if keys:
            raise ValueError(f"{len(keys)} tensors {what}, first `{keys[0]}`")
    for key, value in converted.items():
        if value.shape != expected[key].shape:
            raise ValueError(f"`{key}` has shape {tuple(value.shape)}, expected {tuple(expected[key].shape)}")
