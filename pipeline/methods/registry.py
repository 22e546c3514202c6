"""Every method by name. A file in this folder that calls `@register` is a method; nothing else names it."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from typing import Any

from pipeline.config import ConfigError, nearest
from pipeline.methods.base import Method

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


def settings_of(name: str, values: Mapping[str, Any], dataset: str = "", task: str = "", backbone: str = "") -> Any:
    """Return the method's settings: `values` over what was published for the task over the defaults.

    Raises ConfigError for an unknown key, a value of another kind than the default's, or one the method refuses.
    """
    cls = get(name)
    known = published_settings(name, dataset, task, backbone)
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"config: unknown key `methods.{name}.{key}`; {nearest(key, known)}")
        _check_kind(f"methods.{name}.{key}", value, known[key])
    try:
        return cls.Settings(**{**known, **{key: _like(value, known[key]) for key, value in values.items()}})
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"config: `methods.{name}`: {error}") from None


def published_settings(name: str, dataset: str, task: str, backbone: str) -> dict[str, Any]:
    """Return every setting of a method as published for a task; the defaults where nothing else is known."""
    cls = get(name)
    defaults = {field.name: field.default for field in dataclasses.fields(cls.Settings)}
    return {**defaults, **cls.published(dataset, task, backbone)}


def overridden(name: str, settings: Any, dataset: str, task: str, backbone: str) -> list[str]:
    """Return a line for every setting that differs from the published one."""
    known = published_settings(name, dataset, task, backbone)
    return [
        f"methods.{name}.{key} is {getattr(settings, key)!r}; published for {dataset} {task} on {backbone}: {value!r}"
        for key, value in known.items()
        if getattr(settings, key) != value
    ]


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


@cache
def _discover() -> None:
    package = importlib.import_module("pipeline.methods")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
