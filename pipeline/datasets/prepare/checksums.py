"""A checksum list of a data set: built at the first `prepare`, compared at every later one."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.artifacts import file_sha256, write_text
from pipeline.datasets import DatasetError
from pipeline.datasets.prepare.inspection import Report
from pipeline.runtime.progress import Progress

FILE = "checksums.sha256"
_THREADS = 4


def check_checksums(root: Path, files: Sequence[Path], report: Report) -> None:
    """Write `checksums.sha256` (format of sha256sum) or compare the files with it; differences are problems."""
    path = root / FILE
    names = [file.relative_to(root).as_posix() for file in files]
    progress = Progress("sha256", len(files), unit="files")
    found: dict[str, str] = {}
    with ThreadPoolExecutor(_THREADS) as pool:
        for name, digest in zip(names, pool.map(file_sha256, files), strict=True):
            found[name] = digest
            progress.update()
    if not path.exists():
        write_text(path, "".join(f"{found[name]}  {name}\n" for name in sorted(found)))
        report.say(f"wrote {FILE}: {len(found)} files")
        return
    known = _read(path)
    changed = [name for name in found if name in known and known[name] != found[name]]
    gone = sorted(set(known) - set(found))
    report.problems += [f"{root / name} has another SHA-256 than in {FILE}" for name in changed]
    report.problems += [f"{root / name} is in {FILE} and not in the data set" for name in gone]
    new = [name for name in found if name not in known]
    report.say(f"{FILE}: {len(found) - len(changed) - len(new)} files as recorded, {len(new)} not recorded")


def _read(path: Path) -> dict[str, str]:
    known = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        digest, _, name = line.partition("  ")
        if len(digest) != 64 or not name:
            raise DatasetError(f"{path}:{number}: expected `<sha256>  <file>`, got {line!r}; delete the file")
        known[name] = digest
    return known
