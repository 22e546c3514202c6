"""Networks by name, their construction and their files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from pipeline.artifacts import ArtifactError, atomic_path
from pipeline.config import nearest
from pipeline.train.models.network import Features, Output, SegmentationModel
from pipeline.train.models.small_cnn import SmallBody, SmallHead

__all__ = ["Features", "Output", "SegmentationModel", "build_model", "load_model", "names", "save_model"]

Parts = tuple[nn.Module, nn.Module]
_BACKBONES: dict[str, Callable[[], Parts]] = {}


def register(name: str) -> Callable[[Callable[[], Parts]], Callable[[], Parts]]:
    """Register a function that returns (body, head) under a backbone name."""

    def add(function: Callable[[], Parts]) -> Callable[[], Parts]:
        assert name not in _BACKBONES, f"backbone {name} registered twice"
        _BACKBONES[name] = function
        return function

    return add


@register("small_cnn")
def _small_cnn() -> Parts:
    body = SmallBody()
    return body, SmallHead(body.channels)


def names() -> list[str]:
    """Return the names of the registered backbones."""
    return sorted(_BACKBONES)


def build_model(backbone: str, classes_per_step: Sequence[int]) -> SegmentationModel:
    """Return a freshly initialised network with one classifier per entry of `classes_per_step`.

    Raises ValueError for an unknown backbone.
    """
    if backbone not in _BACKBONES:
        raise ValueError(f"unknown backbone `{backbone}`; {nearest(backbone, _BACKBONES)}")
    body, head = _BACKBONES[backbone]()
    return SegmentationModel(body, head, list(classes_per_step), backbone)


def save_model(path: str | Path, model: SegmentationModel, about: Mapping[str, Any]) -> None:
    """Write weights and buffers as safetensors; `about` (dataset, task, step, order...) goes in the header."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    header = {"backbone": model.backbone, "classes_per_step": model.classes_per_step, **about}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"about": json.dumps(header, sort_keys=True)})


def read_about(path: str | Path) -> dict[str, Any]:
    """Return the header of a checkpoint. Raises ArtifactError if it is absent or not one of ours."""
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
    except FileNotFoundError:
        raise ArtifactError(f"checkpoint {path} does not exist; train the step before") from None
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"checkpoint {path} is not a readable safetensors file ({error})") from None
    if "about" not in metadata:
        raise ArtifactError(f"checkpoint {path} was not written by this pipeline (no `about` header)")
    about: dict[str, Any] = json.loads(metadata["about"])
    return about


def load_model(path: str | Path, expect: Mapping[str, Any] | None = None) -> SegmentationModel:
    """Return the network of a checkpoint, in evaluation mode.

    `expect` names header values (dataset, task, setting, step) that must match; a checkpoint of
    another task raises ArtifactError naming both values.
    """
    about = read_about(path)
    for key, value in (expect or {}).items():
        if about.get(key) != value:
            raise ArtifactError(
                f"checkpoint {path} has {key} {about.get(key)!r}, this run needs {value!r}; use the matching checkpoint"
            )
    model = build_model(about["backbone"], about["classes_per_step"])
    with safe_open(str(path), framework="pt") as file:
        model.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    return model.eval()
