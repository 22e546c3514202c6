"""How tests build a method and call its losses: the one place that knows constructors and names of settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pipeline.methods import Batch, Forward, Method, StepInfo, get, published_settings, settings_of
from pipeline.methods.recipes import get_recipe
from pipeline.models.network import Output

VOC = ("voc", "15-5", "deeplabv3_resnet101")
ALSO = {
    "weight": ("loss_kd", "reg_importance", "icarl_importance"),
    "feature_weight": ("loss_de",),
    "encoder_weight": ("loss_de",),
    "segmentation_weight": ("l_seg",),
    "ssul": ("implementation",),
}
"""A specification's word for a setting, and what methods may call it."""


def named(method: str, key: str) -> str:
    """Return the method's own name of a setting."""
    known = published_settings(method, *VOC)
    return next((name for name in (key, *ALSO.get(key, ())) if name in known), key)


def settings(method: str, values: Mapping[str, Any], context: Sequence[str] = VOC) -> Any:
    """Return the settings published for a data set, task and backbone, with these values over them."""
    dataset, task, backbone = context
    return settings_of(method, {named(method, key): value for key, value in values.items()}, dataset, task, backbone)


def info(outputs: Sequence[int] = (3, 1, 2), epochs: int = 3) -> StepInfo:
    """Return the facts of the last of so many steps."""
    return StepInfo("voc", "15-5", len(outputs) - 1, tuple(outputs), epochs, 1, "deeplabv3_resnet101")


def built(method: str, values: Mapping[str, Any] | None = None, facts: StepInfo | None = None) -> Method:
    """Return a method, or the base step of `recipe <name>`."""
    facts = facts or info()
    kind, _, recipe = method.rpartition(" ")
    if kind.endswith("recipe"):
        return get_recipe(recipe)(None, facts)
    return get(method)(settings(method, values or {}), facts)


def output(
    logits: Tensor, body: Tensor | None = None, maps: Sequence[Tensor] = (), attention: Sequence[Tensor] = ()
) -> Output:
    """Return what a network answers; a body that no loss reads may be left out."""
    return Output(logits, torch.zeros(len(logits), 1, 1, 1) if body is None else body, tuple(maps), tuple(attention))


def batch(
    images: Tensor,
    masks: Tensor,
    labels: Tensor | None = None,
    roles: Sequence[str] | None = None,
    saliency: Tensor | None = None,
    n_classes: int = 5,
) -> Batch:
    """Return a batch; without labels no class is named, without roles all images are the data set's."""
    size = len(masks)
    named_classes = torch.zeros(size, n_classes) if labels is None else labels
    ids = tuple(f"image{i}" for i in range(size))
    return Batch(images, masks, named_classes, ids, tuple(roles or ["dataset"] * size), saliency)


def losses(method: Method, given: Batch, student: Output, teacher: Output | None, epoch: int = 0) -> dict[str, Tensor]:
    """Return the method's terms."""
    return method.losses(Forward(given, student, teacher, epoch))
