"""Temporary files that a killed writer left, told from those of a writer that lives."""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

LOCKS = "locks"
"""Folder of a file per shard, locked while a run writes the shard. A lock ends with its process."""
OLD = 3600.0
"""Seconds after which a temporary file that no lock speaks for is nobody's: writers write all the time."""
_TEMPORARY = re.compile(r"\.(.+)\.[a-z0-9_]{8}\.tmp")
"""As artifacts.atomic_path names them."""


@contextmanager
def sole_writer(pool: Path, shard: str) -> Iterator[bool]:
    """Yield whether this run is the only one that writes the shard, and keep it so to the end of the block."""
    folder = pool / LOCKS
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / f"{shard}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(handle)


def remove_leftovers_of(files: Iterable[Path]) -> int:
    """Remove the temporary siblings of files that this run is the only writer of; return the bytes freed."""
    return sum(_removed(path) for file in files for path in _temporary(file.parent) if _stands_for(path) == file.name)


def remove_old_leftovers(pool: Path) -> int:
    """Remove temporary files in a pool's own folders that are an hour old; return the bytes freed."""
    folders = (pool, *(pool / name for name in ("shards", "manifests", "queries")))
    before = time.time() - OLD
    return sum(_removed(path) for folder in folders for path in _temporary(folder) if path.stat().st_mtime < before)


def _temporary(folder: Path) -> list[Path]:
    return [path for path in folder.glob(".*.tmp") if _stands_for(path) and path.is_file() and not path.is_symlink()]


def _stands_for(path: Path) -> str:
    found = _TEMPORARY.fullmatch(path.name)
    return found[1] if found else ""


def _removed(path: Path) -> int:
    size = path.stat().st_size
    path.unlink()
    return size
