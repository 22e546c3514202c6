"""Class names in a text file."""

from __future__ import annotations

from pathlib import Path


def read_class_names(path: Path) -> tuple[str, ...]:
    """Return the names in a text file, one per line. Raises ValueError for an unreadable file or an empty line."""
    try:
        names = [line.strip() for line in path.read_text().rstrip().split("\n")]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"class names {path} cannot be read ({' '.join(str(error).split())})") from None
    if "" in names:
        raise ValueError(f"{path}:{names.index('') + 1}: empty line; every line names a class")
    return tuple(names)
