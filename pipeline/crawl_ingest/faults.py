"""Faults of this machine (disk, permissions, a damaged state), which are no fact about any address."""

from __future__ import annotations

import sqlite3
import tarfile
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
DATABASE = "state.sqlite"
"""The pool's database, as one line names it."""


class MachineError(ValueError):
    """This machine cannot do what is asked: one line that names the file and what to do."""


def in_one_line(work: Callable[P, T]) -> Callable[P, T]:
    """Return the function with faults of disk and database raised as MachineError; its other errors pass."""

    @wraps(work)
    def wrapped(*arguments: P.args, **named: P.kwargs) -> T:
        try:
            return work(*arguments, **named)
        except OSError as error:
            raise MachineError(_disk(error)) from error
        except sqlite3.Error as error:
            raise MachineError(_database(error)) from error
        except tarfile.TarError as error:
            raise MachineError(f"a shard's tar is damaged ({error}); delete it and crawl the shard again") from error

    return wrapped


def _disk(error: OSError) -> str:
    where = " and ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
    said = f"{where or 'a file of the pool'}: {error.strerror or error}"
    return f"{said}; check the disk's free space and the folder's permissions, then run the same command again"


def _database(error: sqlite3.Error) -> str:
    said = f"the pool's {DATABASE}: {error}"
    text = str(error)
    if "malformed" in text or "not a database" in text:
        return (
            f"{said}; it is damaged. Move {DATABASE} and its -wal and -shm files away and run the same command again: "
            "finished shards stay, unfinished ones ask their addresses again"
        )
    if "locked" in text or "busy" in text:
        return f"{said}; another crawl holds it. Run the same command again"
    return f"{said}; check the disk's free space and the folder's permissions, then run the same command again"
