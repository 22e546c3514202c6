"""config.yaml, written from the sections: every key with its default, and its docstring as a comment."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic.fields import FieldInfo

from pipeline.config.section import Section
from pipeline.config.sections import Config

HEADER = """\
# Written by `python -m pipeline.config write-defaults` from the docstrings in pipeline/config; do not edit.
# The embedded default experiment: drawn data set, mini web on loopback, two CPU cores.
# Files in experiments/ are layered over this one:  snakemake --configfile experiments/x.yaml
# Every key is here with its default. Unknown keys are errors. Sources in brackets are those of docs/specs.
"""
_COLUMN = 34
_WIDTH = 140


def defaults_text() -> str:
    """Return the text of config.yaml."""
    return HEADER + "".join("\n" + "\n".join(block) + "\n" for block in _blocks(Config(), indent=0))


def write_defaults(path: Path) -> bool:
    """Write config.yaml; return whether it changed. Raises ValueError for a file that this command did not write."""
    text = defaults_text()
    if path.exists():
        found = path.read_text()
        if found == text:
            return False
        if not found.startswith(HEADER.splitlines()[0]):
            raise ValueError(f"{path} was not written by this command; move it aside, or name another file")
    partial = path.with_name(f"{path.name}.part")
    partial.write_text(text)
    partial.replace(path)
    return True


def _blocks(section: Section, indent: int) -> list[list[str]]:
    """Return the lines of every key of a section."""
    pad, blocks = " " * indent, []
    for name, field in type(section).model_fields.items():
        value, about = getattr(section, name), field.description or ""
        if isinstance(value, Section):
            head = _commented(f"{pad}{name}:", about or _summary(type(value)))
            blocks.append([*head, *(line for block in _blocks(value, indent + 2) for line in block)])
        elif (item := _item(field)) is not None:
            blocks.append(_list(f"{pad}{name}:", value, about, item))
        else:
            blocks.append(_commented(f"{pad}{name}: {_flow(value)}", about))
    return blocks


def _list(key: str, rows: tuple[Section, ...], about: str, item: type[Section]) -> list[str]:
    """Return a list of sections: what it is, the keys of each, and a line for every default."""
    lines = _commented(key if rows else f"{key} []", f"{about}; keys of each:")
    for name, field in item.model_fields.items():
        lines += _commented("", f"  {name}: {field.description}")
    pad = " " * (len(key) - len(key.lstrip()) + 2)
    return lines + [f"{pad}- {_flow(row.model_dump(mode='json', exclude_unset=True))}" for row in rows]


def _commented(text: str, about: str) -> list[str]:
    """Return the line with its comment, continued below in the same column where it is long."""
    about = about.rstrip(".")
    hang = " " * (len(about) - len(about.lstrip()) + 2) if about.startswith(" ") else ""
    column = max(_COLUMN, len(text) + 2) if text else _COLUMN
    parts = textwrap.wrap(about, _WIDTH - column - 2, subsequent_indent=hang, break_on_hyphens=False)
    first, *more = parts or [""]
    return [f"{text:{column - 1}s} # {first}" if first else text, *(f"{'':{column - 1}s} # {part}" for part in more)]


def _item(field: FieldInfo) -> type[Section] | None:
    """Return the section that a list holds, None for any other field."""
    inner = [part for part in get_args(field.annotation) if isinstance(part, type) and issubclass(part, Section)]
    return inner[0] if inner else None


def _summary(section: type[Section]) -> str:
    """Return the first sentence or paragraph of a section's docstring, in one line."""
    return " ".join((section.__doc__ or "").split("\n\n")[0].split())


def _flow(value: Any) -> str:
    """Return a value as YAML in one line; empty text, and text that looks like a number, is quoted."""
    plain = list(value) if isinstance(value, tuple) else value
    if isinstance(plain, str) and (not plain or plain[:1].isdigit()):
        return f'"{plain}"'
    text = yaml.safe_dump(plain, default_flow_style=True, sort_keys=False, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")
