"""Every method by name. A file in this folder that calls `@register` is a method; nothing else names it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import ValidationError

from pipeline.config import ConfigError, nearest, renamed
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

    Raises ConfigError, one line per problem, for an unknown or former key, and for a value that the method refuses.
    """
    return resolve(get(name), f"methods.{name}", values, dataset, task, backbone)


def resolve(cls: type[Method], section: str, values: Mapping[str, Any], dataset: str, task: str, backbone: str) -> Any:
    """Return the settings of a class; `section` is where the configuration holds `values`. As `settings_of`."""
    known = _published(cls, dataset, task, backbone)
    for key in values:
        if key not in known:
            dotted = f"{section}.{key}"
            raise ConfigError(renamed(dotted) or f"config: unknown key `{dotted}`; {nearest(key, known)}")
    try:
        return cls.Settings(**{**known, **values})
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(section, item, known) for item in error.errors())) from None


def published_settings(name: str, dataset: str, task: str, backbone: str) -> dict[str, Any]:
    """Return every setting of a method as published for a task; the defaults where nothing else is known."""
    return _published(get(name), dataset, task, backbone)


def _published(cls: type[Method], dataset: str, task: str, backbone: str) -> dict[str, Any]:
    return {**cls.Settings().model_dump(), **cls.published(dataset, task, backbone)}


def overridden(name: str, settings: Any, dataset: str, task: str, backbone: str) -> list[str]:
    """Return a line for every setting that differs from the published one."""
    return departures(get(name), f"methods.{name}", settings, dataset, task, backbone)


def departures(cls: type[Method], section: str, settings: Any, dataset: str, task: str, backbone: str) -> list[str]:
    """Return what `overridden` does, of a class whose settings the configuration holds in `section`."""
    known = _published(cls, dataset, task, backbone)
    return [
        f"{section}.{key} is {getattr(settings, key)!r}; published for {dataset} {task} on {backbone}: {value!r}"
        for key, value in known.items()
        if getattr(settings, key) != value
    ]


def _explain(section: str, item: Any, known: Mapping[str, Any]) -> str:
    """Return one line for a problem that the settings model found."""
    if not item["loc"]:
        message = item["msg"].removeprefix("Value error, ")
        return f"config: `{section}`: {message}"
    key, got = item["loc"][0], item["input"]
    if item["type"] == "literal_error":
        choices = item["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
        return f"config: `{section}.{key}` is {got!r}, expected one of {choices}"
    if item["type"].endswith("_type"):
        return f"config: `{section}.{key}` is {got!r}, expected {type(known[key]).__name__} like {known[key]!r}"
    message = item["msg"].removeprefix("Value error, ")
    return f"config: `{section}.{key}` is {got!r}: {message}"


@cache
def _discover() -> None:
    package = importlib.import_module("pipeline.methods")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
