"""Paths and schemas of everything on disk, and atomic writing. No other module spells a path.

A writer builds a temporary sibling, fsyncs it and renames it into place, so that a killed job leaves
either the old artifact or none. A reader checks the schema and fails with one clear line.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from pipeline.config import Config

_TEXT, _INT, _FLOAT, _BOOL = pa.string(), pa.int32(), pa.float32(), pa.bool_()
_IDS = pa.list_(pa.int32())


class ArtifactError(ValueError):
    """An artifact on disk is missing, unreadable or not what its schema says."""


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema(list(columns.items()))


QUERIES = _schema(query_id=_TEXT, text=_TEXT, kind=_TEXT, class_ids=_IDS, source_image_id=_TEXT, shard=_INT)
INGEST = _schema(
    image_id=_TEXT, url=_TEXT, final_url=_TEXT, page_url=_TEXT, query_id=_TEXT, rank=_INT, source=_TEXT,
    licence=_TEXT, creator=_TEXT, title=_TEXT, status=_TEXT, reason=_TEXT, http_status=_INT, width=_INT,
    height=_INT, bytes=pa.int64(), phash=_TEXT, fetched_at=_TEXT,
)  # fmt: skip
MANIFEST = pa.schema(
    [*INGEST, *_schema(shard=_TEXT, query_text=_TEXT, kind=_TEXT, class_ids=_IDS, source_image_id=_TEXT)]
)
SAFETY = _schema(safety_score=_FLOAT, safety_threshold=_FLOAT)
"""Columns that INGEST and MANIFEST have at their end if images were scored; null for an image that was not."""
CAPTIONS = _schema(image_id=_TEXT, caption=_TEXT, seconds=_FLOAT, model=_TEXT, revision=_TEXT, reason=_TEXT)
NOUNS = _schema(image_id=_TEXT, nouns=pa.list_(_TEXT))
NOUN_FILTER = _schema(
    image_id=_TEXT, query_id=_TEXT, role=_TEXT, class_id=_INT, caption=_TEXT, nouns=pa.list_(_TEXT),
    labels=_IDS, word=_TEXT, target=_TEXT, score=_FLOAT, threshold=_FLOAT, kept=_BOOL, reason=_TEXT,
)  # fmt: skip
NOUN_COMPARISON = _schema(
    image_id=_TEXT, class_ids=_IDS, role=_TEXT, similarity=_TEXT, rule=_TEXT, score=_FLOAT, kept=_BOOL
)
FOURIER = _schema(
    image_id=_TEXT, class_id=_INT, p_dataset=_FLOAT, p_web=_FLOAT, score=_FLOAT, threshold=_FLOAT,
    kept=_BOOL, reason=_TEXT,
)  # fmt: skip
NEW_CLASSES = _schema(
    image_id=_TEXT, class_id=_INT, filters=_TEXT, labels=_IDS, image=_TEXT, rank=_INT, noun_score=_FLOAT,
    fourier_score=_FLOAT, kept=_BOOL, reason=_TEXT,
)  # fmt: skip
REPLAY = _schema(
    image_id=_TEXT, query_id=_TEXT, source_image_id=_TEXT, class_ids=_IDS, image=_TEXT, score=_FLOAT,
    threshold=_FLOAT, kept=_BOOL, reason=_TEXT,
)  # fmt: skip
PSEUDOLABELS = _schema(image_id=_TEXT, image=_TEXT, label=_TEXT, class_ids=_IDS, confidence=_FLOAT, reason=_TEXT)
TRAIN_LIST = _schema(image_id=_TEXT, role=_TEXT, image=_TEXT, mask=_TEXT, labels=_IDS)
SALIENCY = _schema(image_id=_TEXT, status=_TEXT, reason=_TEXT, seconds=_FLOAT)
TRUTH = _schema(
    url=_TEXT, kind=_TEXT, query_class=_INT, class_ids=_IDS, style=_TEXT, fault=_TEXT, duplicate_of=_TEXT,
    alt_is_misleading=_BOOL,
)  # fmt: skip


def with_safety(schema: pa.Schema) -> pa.Schema:
    """Return a schema with the columns of the safety score at its end."""
    return pa.schema([*schema, *SAFETY])


@dataclass(frozen=True)
class Layout:
    """Every path of an experiment. Arguments may be Snakemake wildcards such as `"{step}"`."""

    data: str = "data"
    results: str = "results/mini"
    dataset_root: str = "data/minivoc"
    pool: str = "mini"
    captioner: str = "tiny"

    @classmethod
    def of(cls, config: Config) -> Layout:
        """Return the layout of a configuration."""
        experiment = config.experiment
        return cls(
            data=experiment.data_dir,
            results=f"{experiment.results_dir}/{experiment.name}",
            dataset_root=config.datasets.root,
            pool=config.crawl_ingest.pool,
            captioner=config.captioning.captioner.name,
        )

    def dataset_classes(self) -> str:
        """Class names, one per line in id order; the last file written when a data set is built."""
        return f"{self.dataset_root}/classes.txt"

    def saliency(self, name: str, model: str = "u2netp") -> str:
        """A soft saliency map `<image id>.png` of the data set, or `index.parquet`, the last file written."""
        return f"{self.dataset_root}/saliency/{model}/{name}"

    def site(self) -> str:
        """Folder of the mini web site."""
        return f"{self.data}/miniweb/{self.pool}"

    def truth(self) -> str:
        """Truth about the mini web's images, for the report alone."""
        return f"{self.site()}/truth.parquet"

    def web(self) -> str:
        """Folder of the web pool."""
        return f"{self.data}/web/{self.pool}"

    def queries(self, plan: str) -> str:
        """Queries of a plan: `base`, `step<k>` or `replay<k>`."""
        return f"{self.web()}/queries/{plan}.parquet"

    def shard(self, shard: str, suffix: str) -> str:
        """A shard's `tar`, `parquet` or `stats.json`; shards are named `<plan>-<number>`."""
        return f"{self.web()}/shards/{shard}.{suffix}"

    def pool_protocol(self, step: int | str) -> str:
        """The pool's copy of a step's protocol: pools are shared between experiments."""
        return f"{self.web()}/protocol/step{step}.json"

    def manifest(self, plan: str) -> str:
        """All rows of a plan's shards, with duplicates across shards marked."""
        return f"{self.web()}/manifests/{plan}.parquet"

    def card(self, name: str = "card.md") -> str:
        """The pool's card, or its attribution.csv."""
        return f"{self.web()}/{name}"

    def captions(self, shard: str) -> str:
        """Captions of a shard (`dataset` is the shard of the base images)."""
        return f"{self.web()}/captions/{self.captioner}/{shard}.parquet"

    def nouns(self, shard: str) -> str:
        """Nouns of a shard's captions."""
        return f"{self.web()}/nouns/{self.captioner}/{shard}.parquet"

    def protocol(self, step: int | str) -> str:
        """Images, classes and labels of a step."""
        return f"{self.results}/protocol/step{step}.json"

    def fourier(self, name: str) -> str:
        """`discriminator.safetensors` or `metrics.json`."""
        return f"{self.results}/fourier/{name}"

    def selection(self, step: int | str, name: str) -> str:
        """`noun_filter` or `noun_comparison` (also with `_replay`), `fourier`, `new_classes` or `replay` of a step."""
        return f"{self.results}/selection/step{step}/{name}.parquet"

    def base(self, recipe: str, seed: int | str, name: str) -> str:
        """A file of a shared base step (step 0)."""
        return f"{self.results}/base/{recipe}/seed{seed}/{name}"

    def step(self, run: str, seed: int | str, step: int | str, name: str) -> str:
        """A file of an incremental step of a run."""
        return f"{self.results}/{run}/seed{seed}/step{step}/{name}"

    def summary(self) -> str:
        """The table of old, new and all."""
        return f"{self.results}/summary.csv"

    def report(self) -> str:
        """The page."""
        return f"{self.results}/report/index.html"


def file_sha256(path: str | Path) -> str:
    """Return the sha256 of a file in hexadecimal, read in pieces. Raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path`; on success fsync and rename it, on failure remove it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())
        _fsync(temporary)
        os.replace(temporary, path)
        _fsync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_dir(path: str | Path) -> Iterator[Path]:
    """Yield a temporary sibling folder; on success it replaces `path`, on failure it is removed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    try:
        yield temporary
        os.chmod(temporary, 0o777 & ~_umask())
        for file in temporary.rglob("*"):
            if file.is_file():
                _fsync(file)
        if path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
        _fsync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_table(
    path: str | Path,
    rows: Sequence[Mapping[str, Any]],
    schema: pa.Schema,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Write rows as Parquet; `provenance` (settings, versions) travels in the file's metadata.

    A row with a column missing from the schema, or lacking one, is our own mistake: AssertionError.
    """
    names = set(schema.names)
    for row in rows:
        assert set(row) == names, f"{path}: row has {sorted(set(row) ^ names)} too much or too little"
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    if provenance is not None:
        text = json.dumps(provenance, sort_keys=True)
        table = table.replace_schema_metadata({"provenance": text})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)


@contextmanager
def row_writer(path: str | Path, schema: pa.Schema, chunk: int = 1024) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Yield a function that appends a row to a Parquet file; for tables too long to hold in memory.

    The file appears when the block ends, and not at all if it fails.
    """
    rows: list[dict[str, Any]] = []
    names = set(schema.names)
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:

        def flush() -> None:
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
            rows.clear()

        def write(row: Mapping[str, Any]) -> None:
            assert row.keys() == names, f"{path}: row has {sorted(row.keys() ^ names)} wrong"
            rows.append(dict(row))
            if len(rows) == chunk:
                flush()

        yield write
        flush()


def read_table(path: str | Path, schema: pa.Schema) -> list[dict[str, Any]]:
    """Return the rows of a Parquet artifact. Raises ArtifactError if absent or of another schema."""
    return list(read_rows(path, schema))


def read_rows(path: str | Path, schema: pa.Schema, batch: int = 4096) -> Iterator[dict[str, Any]]:
    """Yield the rows of a Parquet artifact, a batch in memory at a time. Raises ArtifactError as `read_table`."""
    with _opened(path) as file:
        _check_schema(path, file.schema_arrow, schema)
        for part in file.iter_batches(batch_size=batch):
            yield from part.to_pylist()


@contextmanager
def _opened(path: str | Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except FileNotFoundError:
        raise ArtifactError(f"{path} does not exist; run the stage that writes it") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise ArtifactError(f"{path} is not readable Parquet ({error}); delete it and rerun its stage") from None


def _check_schema(path: str | Path, found: pa.Schema, schema: pa.Schema) -> None:
    if any(found.equals(known, check_metadata=False) for known in (schema, with_safety(schema))):
        return
    got, want = set(found.names), set(schema.names)
    detail = f"missing {sorted(want - got)}, unexpected {sorted(got - want)}" if got != want else "other types"
    raise ArtifactError(f"{path} has another schema ({detail}); delete it and rerun its stage")


def iter_table(
    path: str | Path, schema: pa.Schema, columns: Sequence[str], size: int = 20_000
) -> Iterator[dict[str, list[Any]]]:
    """Yield {column: values} of up to `size` rows at a time, so that memory stays flat. Raises like read_table."""
    with _opened(path) as file:
        _check_schema(path, file.schema_arrow, schema)
        for batch in file.iter_batches(batch_size=size, columns=list(columns)):
            yield {name: batch.column(name).to_pylist() for name in columns}


@contextmanager
def table_writer(
    path: str | Path, schema: pa.Schema, provenance: Mapping[str, Any] | None = None
) -> Iterator[Callable[[Mapping[str, Sequence[Any]]], None]]:
    """Yield a function that appends {column: values} to a table, which appears at `path` on success alone."""
    if provenance is not None:
        schema = schema.with_metadata({"provenance": json.dumps(provenance, sort_keys=True)})
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:

        def write(columns: Mapping[str, Sequence[Any]]) -> None:
            arrays = [pa.array(columns[field.name], type=field.type) for field in schema]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))

        yield write
        writer.close()


def has_safety(path: str | Path) -> bool:
    """Return whether a table has the columns of the safety score. Raises ArtifactError if it is not readable."""
    with _opened(path) as file:
        return SAFETY.names[0] in file.schema_arrow.names


def count_rows(path: str | Path) -> int:
    """Return the number of rows of a table without reading them."""
    return int(pq.read_metadata(path).num_rows)


def read_provenance(path: str | Path) -> dict[str, Any]:
    """Return the settings and versions stored with a table, empty if there are none."""
    metadata = pq.read_schema(path).metadata or {}
    loaded: dict[str, Any] = json.loads(metadata.get(b"provenance", b"{}"))
    return loaded


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON atomically, keys sorted."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")


def read_json(path: str | Path) -> Any:
    """Return a JSON artifact. Raises ArtifactError if absent or malformed."""
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise ArtifactError(f"{path} does not exist; run the stage that writes it") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path} is not valid JSON ({error}); delete it and rerun its stage") from None


def write_text(path: str | Path, text: str) -> None:
    """Write text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
