"""Backbones by name. A backbone is a function of its options that returns (body, head)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import nn

from pipeline.config import nearest

COMMON = ("norm", "branches", "log_odds")
"""Options that every backbone has."""
Parts = tuple[nn.Module, nn.Module]
Builder = TypeVar("Builder", bound=Callable[..., Parts])
_BACKBONES: dict[str, Callable[..., Parts]] = {}


def register(name: str) -> Callable[[Builder], Builder]:
    """Register a function that returns (body, head) under a backbone name.

    Its arguments with a default are the backbone's options. A name that ends in a colon stands for a family:
    the function then takes what follows the colon as its first argument.
    """

    def add(function: Builder) -> Builder:
        assert name not in _BACKBONES, f"backbone {name} registered twice"
        _BACKBONES[name] = function
        return function

    return add


def names() -> list[str]:
    """Return the names of the registered backbones; a family is listed as `family:<name>`."""
    return sorted(f"{name}<name>" if name.endswith(":") else name for name in _BACKBONES)


def check_backbone(backbone: str) -> None:
    """Raise ValueError for a backbone that nobody registered, naming the nearest one."""
    family, colon, member = backbone.partition(":")
    if family + colon not in _BACKBONES or (colon and not member):
        raise ValueError(f"unknown backbone `{backbone}`; {nearest(backbone, names())}")


def build_parts(backbone: str, options: Mapping[str, Any]) -> Parts:
    """Return a backbone's freshly initialised (body, head).

    Raises ValueError for an unknown backbone or an option that it does not have.
    """
    check_backbone(backbone)
    family, colon, member = backbone.partition(":")
    name = family + colon
    parameters = inspect.signature(_BACKBONES[name]).parameters.values()
    known = [parameter.name for parameter in parameters if parameter.default is not parameter.empty]
    for key in options:
        if key not in known:
            raise ValueError(f"backbone {backbone} has no option `{key}`; {nearest(key, [*known, *COMMON])}")
    return _BACKBONES[name](*([member] if colon else []), **options)
