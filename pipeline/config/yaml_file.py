"""A YAML file of settings as plain values, or one line that says where it is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 4_000_000
MAX_NODES = 200_000
MAX_DEPTH = 100


class YamlError(ValueError):
    """The file is no YAML mapping that can be read; the message names the file and, where known, the line."""


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice; the second one would silently win."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: dict[Any, int] = {}
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        key = loader.construct_object(key_node, deep=True)
        line = key_node.start_mark.line + 1
        if not isinstance(key, str | int | float | bool):
            raise YamlError(f"line {line}: a key must be a plain word, got {type(key).__name__}")
        if key in seen:
            raise YamlError(f"line {line}: key `{key}` stands twice, first in line {seen[key]}; remove one")
        seen[key] = line
    loader.flatten_mapping(node)
    return {loader.construct_object(k, deep=True): loader.construct_object(v, deep=True) for k, v in node.value}


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def read_mapping(path: str | Path) -> dict[str, Any]:
    """Return the mapping of a YAML file, {} for an empty one.

    Raises YamlError naming the file for one that is absent, too large, not UTF-8, not YAML, nested or aliased beyond
    what settings need, with a key that stands twice, or not a mapping.
    """
    text = _read(Path(path))
    try:
        _bound(text)
        loaded = yaml.load(text, _Loader)
    except YamlError as error:
        raise YamlError(f"{path}: {error}") from None
    except yaml.YAMLError as error:
        raise YamlError(f"{path} is not valid YAML: {_where(error)}") from None
    except (RecursionError, ValueError) as error:
        raise YamlError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise YamlError(f"{path} must hold a mapping, got {type(loaded).__name__}")
    return loaded


def _read(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise YamlError(f"{path} has {size} bytes, settings have at most {MAX_BYTES}; is it the right file?")
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise YamlError(f"config file {path} does not exist") from None
    except UnicodeDecodeError as error:
        raise YamlError(f"{path} is not text in UTF-8 (byte {error.start}); is it the right file?") from None
    except OSError as error:
        raise YamlError(f"{path} cannot be read: {error.strerror}") from None


def _bound(text: str) -> None:
    """Raise YamlError for a document that would grow or nest beyond bounds, before anything is built of it."""
    sizes: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = []
    total = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, total))
            total += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor:
                sizes[anchor] = total - before
        elif isinstance(event, yaml.AliasEvent):
            total += sizes.get(event.anchor or "", 1)
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
        if len(open_nodes) > MAX_DEPTH:
            raise YamlError(f"line {line}: nested deeper than {MAX_DEPTH} levels")
        if total > MAX_NODES:
            raise YamlError(f"line {line}: more than {MAX_NODES} values, aliases counted out")


def _where(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return f"line {mark.line + 1}: {' '.join(problem.split())}" if mark else " ".join(str(error).split())
