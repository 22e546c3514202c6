"""What exactly a captioner was: digests of local folders, and the rule for a model's own code."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from pipeline.artifacts import file_sha256
from pipeline.config import Captioner as Settings

_CODE = {".py", ".pyc", ".so"}


def digest(paths: Iterable[Path]) -> str:
    """Return the sha256 of files' names and contents, in name order."""
    total = hashlib.sha256()
    for path in sorted(paths):
        total.update(f"{path.name}\0{file_sha256(path)}\n".encode())
    return total.hexdigest()


def commit_of(model: str, revision: str) -> str:
    """Return the commit that a revision of a hub model is at, "" for the main branch. Raises OSError if it is unknown.

    Loading by it makes all files come from one commit, even if the repository changes meanwhile.
    """
    from transformers.utils import cached_file

    config = Path(str(cached_file(model, "config.json", revision=revision or None)))
    # The hub's cache keeps every commit's files in a folder named after it.
    return config.parent.name if config.parent.parent.name == "snapshots" else revision


def files_of(folder: Path) -> list[Path]:
    """Return the model files of a folder: all but hidden ones and prose."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return [p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts)
            and p.suffix != ".md"]  # fmt: skip


def code_digest(folder: Path) -> str:
    """Return the sha256 of a folder's code files."""
    return digest(path for path in files_of(folder) if path.suffix in _CODE)


def check_local_code(folder: Path, settings: Settings) -> None:
    """Raise ValueError if code of a local folder would run that is not the code the revision pins."""
    found = code_digest(folder)
    if settings.trust_remote_code and settings.revision != found:
        raise ValueError(
            f"captioner `{folder}`: its code has digest {found}, revision is {settings.revision!r}; "
            "read the code, then set captioning.captioner.revision to the digest"
        )
