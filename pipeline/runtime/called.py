"""The name under which a command was called, for its usage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_name: ContextVar[str] = ContextVar("name", default="")


@contextmanager
def called_as(name: str) -> Iterator[None]:
    """Let `name_of` answer another name, such as `webseg crawl`."""
    token = _name.set(name)
    try:
        yield
    finally:
        _name.reset(token)


def name_of(module: str) -> str:
    """Return how a module's command is called: `python -m <module>`, unless it was called by another name."""
    return _name.get() or f"python -m {module}"
