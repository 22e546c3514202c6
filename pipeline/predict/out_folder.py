"""The folder that a prediction writes: made as a whole, marked, and replaced only if nothing in it is the user's."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.artifacts import ArtifactError, atomic_dir, file_sha256, read_json, write_json

PREDICTED, EXPORTED = "predict.json", "export.json"
"""Marker files: which command made the folder, and what it wrote."""
_MAKER = "pipeline.predict"


class OutFolder:
    """Collects files; each is recorded with its SHA-256, so that a later run knows its own."""

    def __init__(self, folder: Path, marker: str) -> None:
        self.folder, self._marker = folder, marker
        self._files: dict[str, str] = {}

    def write(self, name: str, content: bytes | str) -> None:
        """Write a file; folders in its name are made."""
        data = content.encode("utf-8") if isinstance(content, str) else content
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self._files[name] = hashlib.sha256(data).hexdigest()

    def adopt(self) -> None:
        """Record the files that another library wrote into the folder."""
        for path in sorted(self.folder.rglob("*")):
            if path.is_file():
                self._files[path.relative_to(self.folder).as_posix()] = file_sha256(path)

    def finish(self, facts: dict[str, Any]) -> None:
        """Write the marker, with facts about the run and the list of files."""
        write_json(self.folder / self._marker, {"made_by": _MAKER, **facts, "files": self._files})


@contextmanager
def out_folder(out: Path, inputs: Iterable[Path], marker: str = PREDICTED) -> Iterator[OutFolder]:
    """Yield a new folder that replaces `out` when the block ends without an error, and vanishes if it fails.

    Raises ValueError before anything is written if `out` holds files that no run wrote, or that were changed since,
    or if one of `inputs` lies in it, and in one line for what the disk refuses.
    """
    out = out.absolute()
    check_out(out, inputs, marker)
    try:
        with atomic_dir(out) as temporary:
            yield OutFolder(temporary, marker)
            check_out(out, (), marker)
    except OSError as error:
        raise ValueError(f"--out {out} cannot be written ({error.strerror or error}); nothing was kept") from None


def check_out(out: Path, inputs: Iterable[Path], marker: str = PREDICTED) -> None:
    """Raise ValueError if writing to `out` would destroy something, see `out_folder`."""
    try:
        if not out.exists() and not out.is_symlink():
            return
        if out.is_symlink() or not out.is_dir():
            raise ValueError(f"--out {out} is not a folder; choose another name")
        real = out.resolve()
        for path in inputs:
            if path.resolve().is_relative_to(real):
                raise ValueError(f"--out {out} contains {path}, which is read; choose another folder")
        if any(out.iterdir()):
            _check_ours(out, marker)
    except OSError as error:
        raise ValueError(f"--out {out} cannot be read ({error.strerror or error})") from None


def _check_ours(out: Path, marker: str) -> None:
    command = marker.removesuffix(".json")
    if not (out / marker).is_file():
        raise ValueError(f"--out {out} is not empty and was not written by {command}; choose another folder")
    try:
        content = read_json(out / marker)
    except ArtifactError as error:
        raise ValueError(f"--out {out}: {error}") from None
    if not isinstance(content, dict) or content.get("made_by") != _MAKER or not isinstance(content.get("files"), dict):
        raise ValueError(f"--out {out} holds a {marker} that {command} did not write; choose another folder")
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if name == marker or (path.is_dir() and not path.is_symlink()):
            continue
        if name not in content["files"]:
            raise ValueError(
                f"--out {out} holds {name}, which {command} did not write; move it or choose another folder"
            )
        if path.is_symlink() or file_sha256(path) != content["files"][name]:
            raise ValueError(f"--out {out}: {name} was changed since it was written; move it or choose another folder")
