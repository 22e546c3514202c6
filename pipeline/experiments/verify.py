"""`python -m pipeline.experiments.verify`: read every artifact of an experiment and move damaged ones aside.

A stage that meets a damaged file stops with one line and touches nothing. This command finds all of them at once; the
next run then makes anew what it still needs of them. Cut files and broken structure are noticed, a changed number
inside a tensor is not; `crawl_ingest refresh` compares stored images with their sha256.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError, safe_open

from pipeline.artifacts import ArtifactError, Layout
from pipeline.config import Config
from pipeline.runtime.progress import Progress

ASIDE = ".damaged"
"""Suffix of a file that was moved aside."""
_WRONG = (ValueError, OSError, EOFError, tarfile.TarError, pa.ArrowException, SafetensorError)


def damage(path: Path) -> str:
    """Return what is wrong with a file, nothing if it can be read to its end or its kind is not looked at."""
    read = _READERS.get(path.suffix)
    if read is None:
        return ""
    try:
        read(path)
    except _WRONG as error:
        return " ".join(str(error).split())[:120] or type(error).__name__
    return ""


def verify(config: Config) -> list[Path]:
    """Read the artifacts of an experiment and of its web pool; return the damaged ones, each renamed to `*.damaged`.

    Raises ArtifactError if there are no artifacts.
    """
    layout = Layout.of(config)
    files = list(_artifacts(layout))
    if not files:
        raise ArtifactError(f"nothing to read under {layout.results} and {layout.web()}; run the experiment first")
    progress, found = Progress("verify", len(files), unit="files"), []
    for path in files:
        if why := damage(path):
            path.rename(path.with_name(path.name + ASIDE))
            print(f"{path}: {why}; moved aside")
            found.append(path)
        progress.update()
    return found


def _artifacts(layout: Layout) -> Iterator[Path]:
    for folder in dict.fromkeys(map(Path, (layout.results, layout.web()))):
        yield from sorted(path for path in folder.rglob("*") if path.suffix in _READERS and path.is_file())


def _read_parquet(path: Path) -> None:
    with pq.ParquetFile(path) as table:
        for _ in table.iter_batches():
            pass


def _read_tensors(path: Path) -> None:
    with safe_open(path, "np") as tensors:
        list(tensors.keys())


def _read_tar(path: Path) -> None:
    with tarfile.open(path) as tar:
        for member in tar:
            stream = tar.extractfile(member)
            while stream and stream.read(1 << 20):
                pass


def _read_array(path: Path) -> None:
    np.load(path, allow_pickle=False)


_READERS: dict[str, Callable[[Path], object]] = {
    ".parquet": _read_parquet,
    ".safetensors": _read_tensors,
    ".json": lambda path: json.loads(path.read_text()),
    ".npy": _read_array,
    ".tar": _read_tar,
}


def main(argv: list[str] | None = None) -> int:
    """Print what is damaged; return 1 if anything is."""
    from pipeline.runtime.cli import add_settings, read_settings, run_cli, stage_parser

    parser = stage_parser("pipeline.experiments.verify", __doc__)
    parser.set_defaults(run=lambda arguments: _print(verify(read_settings(arguments))), records_cost=False)
    add_settings(parser)
    return run_cli(parser, argv)


def _print(found: list[Path]) -> None:
    print(f"{len(found)} damaged" + ("; run the experiment again to make anew what it needs of them" if found else ""))
    if found:
        raise SystemExit(1)


if __name__ == "__main__":
    raise SystemExit(main())
