"""Which files are images to be segmented, and how what is made of each is called."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image


@dataclass(frozen=True)
class Listed:
    """One file: where it lies, what the tables call it, and the name without suffix of all that is made of it."""

    path: Path
    shown: str
    stem: PurePosixPath
    skipped: str = ""
    """Why it is not even opened."""


def list_images(pattern: str) -> list[Listed]:
    """Return the files of a folder (with its subfolders), of a glob, or one file, in natural order.

    In a folder, files without an image's suffix are listed as skipped and hidden ones are left out. Two images that
    differ in their suffix alone keep it in their stem. Raises ValueError if there is no image.
    """
    root = Path(pattern)
    if root.is_dir():
        found = [path for path in _walk(root) if path.is_file()]
        suffixes = _image_suffixes()
    elif root.is_file():
        found, root, suffixes = [root], root.parent, None
    else:
        found = [Path(name) for name in glob.glob(pattern, recursive=True) if Path(name).is_file()]
        root, suffixes = _common(found), None
        if not found:
            raise ValueError(f"--images {pattern}: there is no such file or folder, and as a glob it matches nothing")
    listed = _named(sorted(found, key=natural), root, suffixes)
    if all(item.skipped for item in listed):
        raise ValueError(f"--images {pattern}: the folder holds no image ({len(listed)} other files)")
    return listed


def natural(path: Path) -> list[tuple[int, int | str]]:
    """Return a sorting key by which frame2 comes before frame10."""
    words = re.split(r"(\d+)", os.fspath(path))
    return [(0, int(word)) if number % 2 else (1, word) for number, word in enumerate(words)]


def _walk(root: Path) -> list[Path]:
    found: list[Path] = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(folder, name) for name in files if not name.startswith(".")]
    return found


def _image_suffixes() -> set[str]:
    Image.init()
    return {suffix.lower() for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN}


def _common(found: list[Path]) -> Path:
    return Path(os.path.commonpath([path.parent for path in found])) if found else Path()


def _named(found: list[Path], root: Path, suffixes: set[str] | None) -> list[Listed]:
    relative = [PurePosixPath(path.relative_to(root).as_posix()) for path in found]
    # Folded, because some file systems know no capitals.
    counts = Counter(str(name.with_suffix("")).casefold() for name in relative)
    listed, taken = [], set[str]()
    for path, name in zip(found, relative, strict=True):
        shown = os.fsencode(str(name)).decode("utf-8", "replace")
        stem = PurePosixPath(shown)
        if counts[str(name.with_suffix("")).casefold()] == 1:
            stem = stem.with_suffix("")
        while str(stem).casefold() in taken:
            stem = stem.with_name(f"{stem.name}_")
        if suffixes is not None and path.suffix.lower() not in suffixes:
            listed.append(Listed(path, shown, stem, f"no image by its name ({path.suffix or 'no suffix'})"))
            continue
        taken.add(str(stem).casefold())
        listed.append(Listed(path, shown, stem))
    return listed
