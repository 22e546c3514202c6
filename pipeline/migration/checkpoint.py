"""Checkpoints of MiB, PLOP, SATS (DeepLab) and WILSON as ours (web_wilss.md 3.2, 3.5, 3.6, 7.6)."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.artifacts import ArtifactError, read_json
from pipeline.train.models import SegmentationModel, build_model, save_model
from pipeline.train.models.pretrained import ABN_EPS, convert

_HEAD = {
    "map_convs.": "branches.",
    "map_bn.": "fuse.0.0.",
    "red_conv.": "fuse.1.",
    "global_pooling_conv.": "pooled.0.",
    "global_pooling_bn.": "pooled.1.0.",
    "pool_red_conv.": "pooled.2.",
    "red_bn.": "out.0.",
}
"""Names of the originals' head -> ours."""
_PARTS = ("body.", "head.", "cls.")
_UNUSED = re.compile(r"(localizer|pseudolabeler|scaler|scheduler)\.|.*num_batches_tracked$")


def import_checkpoint(path: Path, protocol_path: Path, out: Path, backbone: str = "deeplabv3_resnet101") -> str:
    """Write an original checkpoint as model.safetensors of the protocol's step; return what was done, in a line.

    In-place ABN scales by |gamma| + 1e-5, so norm weights become that. Raises ArtifactError with the reason if the
    file cannot be read as tensors alone, or its tensors are not those of this network and task.
    """
    protocol = read_json(protocol_path)
    state = read_original(path)
    model = convert_original(path, state, protocol, backbone)
    about = {key: protocol[key] for key in ("dataset", "task", "setting", "step", "order")}
    save_model(out, model, about | {"imported_from": path.name})
    return f"wrote {out}: {len(state)} tensors, classifiers {model.classes_per_step}"


def convert_original(
    path: Path, state: Mapping[str, Tensor], protocol: Mapping[str, Any], backbone: str
) -> SegmentationModel:
    """Return the network with an original's tensors. Raises ArtifactError, naming `path`, if they do not fit."""
    sizes = _classifier_sizes(path, state)
    expected = [len(classes) for classes in protocol["classes_per_step"][: protocol["step"] + 1]]
    if sizes != expected:
        raise ArtifactError(f"{path} has classifiers of {sizes} outputs, step {protocol['step']} needs {expected}")
    # Random weights of this size would take seconds and be overwritten at once.
    with torch.device("meta"):
        model = build_model(backbone, expected)
    _fill(path, model, _rename(path, state))
    return model


def read_original(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint, without `module.` and the localizer.

    Raises ArtifactError if they cannot be read without unpickling objects.
    """
    if not path.is_file():
        raise ArtifactError(f"checkpoint {path} does not exist")
    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ArtifactError(
            f"checkpoint {path} is refused: it cannot be read without running code ({reason})"
        ) from None
    for key in ("model_state", "state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise ArtifactError(f"checkpoint {path} holds no tensors by name, nor under `model_state` or `state_dict`")
    bare = {str(key).removeprefix("module."): value for key, value in loaded.items()}
    return {key: value for key, value in bare.items() if not _UNUSED.match(key)}


def _classifier_sizes(path: Path, state: Mapping[str, Tensor]) -> list[int]:
    weights = {int(m[1]): value for key, value in state.items() if (m := re.fullmatch(r"cls\.(\d+)\.weight", key))}
    if sorted(weights) != list(range(len(weights))) or not weights:
        raise ArtifactError(f"checkpoint {path} has no classifiers cls.0, cls.1, ...; it is of another code base")
    return [len(weights[step]) for step in sorted(weights)]


def _rename(path: Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    foreign = [key for key in state if not key.startswith(_PARTS)]
    if foreign:
        raise ArtifactError(f"checkpoint {path} has `{foreign[0]}`, which is neither body, head nor classifier")
    body = {key.removeprefix("body."): value for key, value in state.items() if key.startswith("body.")}
    try:
        renamed = {f"body.{key}": value for key, value in convert(body).items()}
    except ValueError as error:
        raise ArtifactError(f"checkpoint {path}: body: {error}") from None
    for key, value in state.items():
        if key.startswith("head."):
            renamed[f"head.{_head_name(path, key.removeprefix('head.'))}"] = _scale(key, value)
        elif key.startswith("cls."):
            renamed[f"classifiers.{key.removeprefix('cls.')}"] = value
    return renamed


def _head_name(path: Path, key: str) -> str:
    for theirs, ours in _HEAD.items():
        if key.startswith(theirs):
            return ours + key.removeprefix(theirs)
    raise ArtifactError(f"checkpoint {path} has `head.{key}`, which is no part of DeepLab's head as MiB has it")


def _scale(key: str, value: Tensor) -> Tensor:
    return value.abs() + ABN_EPS if key.endswith("_bn.weight") else value


def _fill(path: Path, model: SegmentationModel, renamed: Mapping[str, Tensor]) -> None:
    own = model.state_dict()
    counters = {key for key in own if key.endswith("num_batches_tracked")}
    if lacking := sorted(set(own) - counters - set(renamed)):
        raise ArtifactError(f"checkpoint {path} lacks {len(lacking)} tensors of this backbone, first {lacking[0]}")
    if excess := sorted(set(renamed) - set(own)):
        raise ArtifactError(f"checkpoint {path} has {len(excess)} tensors too many, first {excess[0]}")
    for key, value in renamed.items():
        if value.shape != own[key].shape:
            shapes = f"{tuple(value.shape)}, expected {tuple(own[key].shape)}"
            raise ArtifactError(f"checkpoint {path}: {key} has shape {shapes}")
    zeros = {key: torch.zeros((), dtype=own[key].dtype) for key in counters}
    model.load_state_dict({**zeros, **renamed}, assign=True)
