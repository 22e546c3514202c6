"""A weights file of a torchvision segmentation network as a model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.artifacts import ArtifactError
from pipeline.models.pretrained import read_weights
from pipeline.predict.class_list import read_class_names
from pipeline.predict.network import Model, Network

ARCHITECTURES = (
    "deeplabv3_resnet50",
    "deeplabv3_resnet101",
    "deeplabv3_mobilenet_v3_large",
    "fcn_resnet50",
    "fcn_resnet101",
    "lraspp_mobilenet_v3_large",
)
_LAST = ("classifier.4.weight", "classifier.high_classifier.weight")
_AUXILIARY = "aux_classifier."
_OTHER_TASKS = {"fc.weight": "an image classifier", "classifier.6.weight": "an image classifier"}
_OTHER_TASKS |= {"roi_heads.box_predictor.cls_score.weight": "a detector"}


def open_torchvision(path: Path, class_names: Sequence[str] = ()) -> Model:
    """Return the model of a state dict of one of ARCHITECTURES, told from its tensors' names.

    Classes are named by `class_names`, by `<file>.classes.txt` or `classes.txt` beside it, or, if the file has the
    name of torchvision's published weights, by torchvision. Raises ArtifactError if the tensors are another
    network's, ValueError if nothing names the classes.
    """
    state = {name: value for name, value in read_weights(path).items() if not name.startswith(_AUXILIARY)}
    architecture = _recognise(path, state)
    n_classes = next(int(state[name].shape[0]) for name in _LAST if name in state)
    names = tuple(class_names) or _names(path, architecture, n_classes)
    if len(names) != n_classes:
        raise ValueError(f"{path} has {n_classes} classes, {len(names)} names were given")
    with torch.device("meta"):
        body = _build(architecture, n_classes)
    _check_shapes(path, architecture, state, body.state_dict())
    counters = {k: torch.zeros((), dtype=torch.long) for k in body.state_dict() if k.endswith("num_batches_tracked")}
    body.load_state_dict({**counters, **state}, assign=True)
    network = Network(body.float().eval(), _logits)
    return Model(network, names, "torchvision", path, architecture, (), {}, ())


def _logits(output: Mapping[str, Tensor]) -> Tensor:
    return output["out"]


def _build(architecture: str, n_classes: int) -> nn.Module:
    from torchvision.models import get_model

    body: nn.Module = get_model(architecture, weights=None, weights_backbone=None, num_classes=n_classes)
    return body


@cache
def _names_of_tensors(architecture: str) -> frozenset[str]:
    with torch.device("meta"):
        return _without_counters(_build(architecture, 2).state_dict())


def _without_counters(state: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(name for name in state if not name.endswith("num_batches_tracked"))


def _recognise(path: Path, state: Mapping[str, Tensor]) -> str:
    found = _without_counters(state)
    for name, what in _OTHER_TASKS.items():
        if name in found:
            raise ArtifactError(f"{path} holds {what} (tensor `{name}`), expected {_expected()}")
    # The cheap test first: building all six takes seconds.
    likely = [a for a in ARCHITECTURES if _plausible(a, found)]
    for architecture in likely:
        if _names_of_tensors(architecture) == found:
            return architecture
    if not likely:
        raise ArtifactError(f"{path} is of another network (tensor `{min(found)}`), expected {_expected()}")
    lacking = sorted(_names_of_tensors(likely[0]) ^ found)
    raise ArtifactError(
        f"{path} looks like {likely[0]}, but {len(lacking)} tensors are missing or left over, first `{lacking[0]}`"
    )


def _plausible(architecture: str, found: frozenset[str]) -> bool:
    mobile = "backbone.0.0.weight" in found
    signs = {
        "mobilenet": mobile,
        "resnet50": not mobile and "backbone.layer3.6.conv1.weight" not in found,
        "resnet101": not mobile and "backbone.layer3.6.conv1.weight" in found,
        "deeplabv3": any(name.startswith("classifier.0.convs.") for name in found),
        "fcn": "classifier.0.weight" in found,
        "lraspp": "classifier.cbr.0.weight" in found,
    }
    return all(value for sign, value in signs.items() if re.search(rf"(^|_){sign}(_|$)", architecture))


def _expected() -> str:
    return f"a state dict of torchvision's {', '.join(ARCHITECTURES)}"


def _check_shapes(path: Path, architecture: str, state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    for name, value in state.items():
        if name in expected and value.shape != expected[name].shape:
            raise ArtifactError(
                f"{path}: `{name}` has shape {tuple(value.shape)}, {architecture} has {tuple(expected[name].shape)}"
            )


def _names(path: Path, architecture: str, n_classes: int) -> tuple[str, ...]:
    for beside in (path.with_name(f"{path.name}.classes.txt"), path.with_name("classes.txt")):
        if beside.is_file():
            return read_class_names(beside)
    from torchvision.models import get_model_weights

    for published in get_model_weights(architecture):
        if published.url.rpartition("/")[2] == path.name and len(published.meta["categories"]) == n_classes:
            return tuple(published.meta["categories"])
    raise ValueError(
        f"{path} does not say how its {n_classes} classes are called; give them with --classes FILE, one name per "
        f"line, or put {path.name}.classes.txt beside it"
    )
