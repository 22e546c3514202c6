"""Every method by name. A file in this folder that calls `@register` is a method; nothing else names it."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

from pipeline.config import ConfigError, nearest
from pipeline.train.methods.base import Batch, Forward, Method, NoSettings, StepInfo

__all__ = ["Batch", "Forward", "Method", "NoSettings", "StepInfo", "get", "names", "register", "settings_of"]

_METHODS: dict[str, type[Method]] = {}


def register(cls: type[Method]) -> type[Method]:
    """Class decorator: make a method known under its `name`."""
    assert cls.name and cls.name not in _METHODS, f"method name {cls.name!r} is empty or taken"
    _METHODS[cls.name] = cls
    return cls


def names() -> list[str]:
    """Return the names of all methods."""
    _discover()
    return sorted(_METHODS)


def get(name: str) -> type[Method]:
    """Return the class of a method. Raises ConfigError for an unknown name, with the nearest one."""
    _discover()
    if name not in _METHODS:
        raise ConfigError(f"unknown method `{name}`; {nearest(name, _METHODS)}")
    return _METHODS[name]


def settings_of(name: str, values: Mapping[str, Any]) -> Any:
    """Return the method's settings dataclass with `values` over its defaults.

    Raises ConfigError for an unknown key or a value of another kind than the default's.
    """
    cls = get(name).Settings
    defaults = {field.name: field.default for field in dataclasses.fields(cls)}
    for key, value in values.items():
        if key not in defaults:
            raise ConfigError(f"config: unknown key `methods.{name}.{key}`; {nearest(key, defaults)}")
        _check_kind(f"methods.{name}.{key}", value, defaults[key])
    return cls(**{key: _like(value, defaults[key]) for key, value in values.items()})


def _like(value: Any, default: Any) -> Any:
    return float(value) if isinstance(default, float) else value


def _check_kind(dotted: str, value: Any, default: Any) -> None:
    if isinstance(default, bool) or isinstance(value, bool):
        fits = isinstance(value, bool) and isinstance(default, bool)
    elif isinstance(default, float):
        fits = isinstance(value, int | float)
    else:
        fits = isinstance(value, type(default))
    if not fits:
        raise ConfigError(f"config: `{dotted}` is {value!r}, expected {type(default).__name__} like {default!r}")


def _discover() -> None:
    for module in pkgutil.iter_modules(__path__):
        if module.name != "base":
            importlib.import_module(f"{__name__}.{module.name}")
