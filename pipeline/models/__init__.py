"""Networks by name, their construction and their files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from pipeline.artifacts import ArtifactError, atomic_path
from pipeline.models import deeplab, segformer, small_cnn, small_segformer, timm_backbone  # noqa: F401  (they register their names)
from pipeline.models.dual import split_branches
from pipeline.models.network import Features, Output, SegmentationModel
from pipeline.models.norm import apply_norm
from pipeline.models.pretrained import load_pretrained
from pipeline.models.registry import COMMON, build_parts, check_backbone, names, register
from pipeline.runtime.tensors import ready_to_save

__all__ = [
    "Features",
    "Output",
    "SegmentationModel",
    "build_model",
    "check_backbone",
    "load_model",
    "load_pretrained",
    "names",
    "read_about",
    "register",
    "save_model",
]


def build_model(
    backbone: str,
    classes_per_step: Sequence[int],
    classifier: str = "linear",
    options: Mapping[str, Any] | None = None,
) -> SegmentationModel:
    """Return a freshly initialised network with one classifier per entry of `classes_per_step`.

    `classifier` is `linear` (1x1 convolution) or `conv` (SSUL's, ciss_methods.md 3.4). `options` are those of the
    backbone, and for all of them `norm`: `plain` (default) or `sync`, statistics shared across processes, and
    `branches`: 1 (default), or 2 parallel ones for every convolution that can be merged again (dual.py).
    `log_odds`: how many channels, the first ones, were trained under a softmax and are read as sigmoid logits.
    Raises ValueError for an unknown backbone, classifier, option or option value.
    """
    chosen = dict(options or {})
    body, head = build_parts(backbone, {key: value for key, value in chosen.items() if key not in COMMON})
    if chosen.get("branches", 1) != 1:
        if chosen["branches"] != 2:
            raise ValueError(f"a convolution has 1 or 2 branches, got branches {chosen['branches']!r}")
        split_branches(body, head, backbone)
    model = SegmentationModel(body, head, classes_per_step, backbone, classifier, chosen)
    apply_norm(model, chosen.get("norm", "plain"))
    return model


def save_model(path: str | Path, model: SegmentationModel, about: Mapping[str, Any]) -> None:
    """Write weights and buffers as safetensors; `about` (dataset, task, step, order...) goes in the header."""
    header = {
        "backbone": model.backbone,
        "classes_per_step": model.classes_per_step,
        "classifier": model.classifier,
        "options": model.options,
        **about,
    }
    with atomic_path(path) as temporary:
        save_file(ready_to_save(model.state_dict()), temporary, metadata={"about": json.dumps(header, sort_keys=True)})


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
    # Checkpoints of before these two keys hold linear classifiers and no options.
    classifier, options = about.get("classifier", "linear"), about.get("options", {})
    model = build_model(about["backbone"], about["classes_per_step"], classifier, options)
    with safe_open(str(path), framework="pt") as file:
        model.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    return model.eval()
