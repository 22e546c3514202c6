"""The base of every section of the configuration."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Base of every section: immutable, and closed to unknown keys.

    A field's docstring is its comment in config.yaml (`python -m pipeline.config write-defaults`): what it is, in
    which unit, and where the default or the rule comes from.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
