"""Dealing items out so that every group has its turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def in_turns(groups: Sequence[Sequence[T]]) -> list[T]:
    """Return the first item of every group, then the second ones, and so on; a group that is used up is passed over."""
    depth = max(map(len, groups), default=0)
    return [group[level] for level in range(depth) for group in groups if level < len(group)]
