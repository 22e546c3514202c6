"""Reads, layers and explains settings; the only reader of config.yaml and experiments/*.yaml.

The sections themselves are in pipeline/config/sections.py. Unknown keys are errors that name the nearest key.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.config.renamed import renamed
from pipeline.config.rules import complaints
from pipeline.config.sections import Config, Section
from pipeline.config.yaml_file import YamlError, read_mapping


class ConfigError(ValueError):
    """A mistake in the user's configuration; the message is one line per problem."""


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `over` laid on it, mappings merged key by key, everything else replaced."""
    out = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = merge(out[key], value) if both else value
    return out


def load_config(files: Iterable[str | Path] = (), settings: str | None = None) -> Config:
    """Return the validated configuration of YAML files layered left to right, then a JSON mapping.

    Raises ConfigError with one line per problem (dotted key, what was got, what was expected).
    """
    raw = read_yaml(*files)
    if settings:
        raw = merge(raw, json.loads(settings))
    return parse_config(raw)


def read_yaml(*files: str | Path) -> dict[str, Any]:
    """Return YAML files layered left to right, not validated. Raises ConfigError for an unreadable one."""
    raw: dict[str, Any] = {}
    for file in files:
        raw = merge(raw, _read_yaml(Path(file)))
    return raw


def parse_config(raw: Mapping[str, Any]) -> Config:
    """Return the validated configuration of a mapping. Raises ConfigError.

    A key `only` beside the sections is short for `experiment.only`, for `snakemake --config only=plop`.
    """
    if "only" in raw:
        rest = {key: value for key, value in raw.items() if key != "only"}
        raw = merge(rest, {"experiment": {"only": raw["only"]}})
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        lines = [_explain(item) for item in error.errors()]
        raise ConfigError("\n".join(lines)) from None
    if found := complaints(config):
        raise ConfigError("\n".join(found))
    return config


def section(config: Config, dotted: str) -> Any:
    """Return the plain (JSON-ready) value of a dotted key such as `captioning.captioner`."""
    value: Any = config.model_dump(mode="json")
    for key in dotted.split("."):
        value = value[key]
    return value


def settings_json(config: Config, *sections: str) -> str:
    """Return a JSON mapping of the named sections alone, in a stable order, for `--settings`."""
    out: dict[str, Any] = {}
    for dotted in sections:
        nested: Any = section(config, dotted)
        for key in reversed(dotted.split(".")):
            nested = {key: nested}
        out = merge(out, nested)
    return json.dumps(out, sort_keys=True, separators=(",", ":"))


def nearest(key: str, known: Iterable[str]) -> str:
    """Return a hint naming the closest known key, or the list of known keys."""
    known = sorted(known)
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"did you mean `{close[0]}`?" if close else f"known keys: {', '.join(known) or 'none'}"


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        return read_mapping(path)
    except YamlError as error:
        raise ConfigError(str(error)) from None


def _explain(item: Any) -> str:
    where = [str(part) for part in item["loc"]]
    dotted = ".".join(where)
    if item["type"] == "extra_forbidden":
        return renamed(dotted) or f"config: unknown key `{dotted}`; {nearest(where[-1], _known(where[:-1]))}"
    got = item.get("input")
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "value_error":
        return f"config: `{dotted}`: {message}"
    return f"config: `{dotted}`: {message}; got {got!r}"


def _known(parents: list[str]) -> list[str]:
    model: Any = Config
    for name in parents:
        if name.isdigit():
            continue
        annotation = model.model_fields[name].annotation
        inner = [a for a in getattr(annotation, "__args__", ()) if isinstance(a, type)]
        candidates = [annotation, *inner]
        models = [c for c in candidates if isinstance(c, type) and issubclass(c, Section)]
        if not models:
            return []
        model = models[0]
    return list(model.model_fields)
