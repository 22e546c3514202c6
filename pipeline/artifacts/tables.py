"""Parquet tables: checked against their schema when read, written atomically, with their provenance."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.artifacts.files import ArtifactError, atomic_path
from pipeline.artifacts.schemas import SAFETY, Row, Table, with_safety


def write_table(
    path: str | Path,
    rows: Sequence[Row],
    table: Table[Row],
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Write rows as Parquet; `provenance` (settings, versions) travels in the file's metadata.

    A row with a column missing from the schema, or lacking one, is our own mistake: AssertionError.
    """
    names = set(table.names)
    for row in rows:
        assert set(row) == names, f"{path}: row has {sorted(set(row) ^ names)} too much or too little"
    content = pa.Table.from_pylist([dict(row) for row in rows], schema=table.schema)
    if provenance is not None:
        text = json.dumps(provenance, sort_keys=True)
        content = content.replace_schema_metadata({"provenance": text})
    with atomic_path(path) as temporary:
        pq.write_table(content, temporary, write_page_checksum=True)


@contextmanager
def row_writer(path: str | Path, table: Table[Row], chunk: int = 1024) -> Iterator[Callable[[Row], None]]:
    """Yield a function that appends a row to a Parquet file; for tables too long to hold in memory.

    The file appears when the block ends, and not at all if it fails.
    """
    rows: list[Mapping[str, Any]] = []
    names, schema = set(table.names), table.schema
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema, write_page_checksum=True) as writer:

        def flush() -> None:
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
            rows.clear()

        def write(row: Row) -> None:
            assert row.keys() == names, f"{path}: row has {sorted(row.keys() ^ names)} wrong"
            rows.append(dict(row))
            if len(rows) == chunk:
                flush()

        yield write
        flush()


def read_table(path: str | Path, table: Table[Row]) -> list[Row]:
    """Return the rows of a Parquet artifact. Raises ArtifactError if absent or of another schema."""
    return list(read_rows(path, table))


def read_rows(path: str | Path, table: Table[Row], batch: int = 4096) -> Iterator[Row]:
    """Yield the rows of a Parquet artifact, a batch in memory at a time. Raises ArtifactError as `read_table`."""
    with _opened(path) as file:
        _check_schema(path, file.schema_arrow, table)
        for part in file.iter_batches(batch_size=batch):
            # The schema was compared, so that the rows are what their type says.
            yield from cast(list[Row], part.to_pylist())


@contextmanager
def _opened(path: str | Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except FileNotFoundError:
        raise ArtifactError(f"{path} does not exist; run the stage that writes it") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise ArtifactError(f"{path} is not readable Parquet ({error}); delete it and rerun its stage") from None


def _check_schema(path: str | Path, found: pa.Schema, table: Table[Any]) -> None:
    if any(found.equals(known.schema, check_metadata=False) for known in (table, with_safety(table))):
        return
    got, want = set(found.names), set(table.names)
    detail = f"missing {sorted(want - got)}, unexpected {sorted(got - want)}" if got != want else "other types"
    raise ArtifactError(f"{path} has another schema ({detail}); delete it and rerun its stage")


def iter_table(
    path: str | Path, table: Table[Any], columns: Sequence[str], size: int = 20_000
) -> Iterator[dict[str, list[Any]]]:
    """Yield {column: values} of up to `size` rows at a time, so that memory stays flat. Raises like read_table."""
    with _opened(path) as file:
        _check_schema(path, file.schema_arrow, table)
        for batch in file.iter_batches(batch_size=size, columns=list(columns)):
            yield {name: batch.column(name).to_pylist() for name in columns}


@contextmanager
def table_writer(
    path: str | Path, table: Table[Any], provenance: Mapping[str, Any] | None = None
) -> Iterator[Callable[[Mapping[str, Sequence[Any]]], None]]:
    """Yield a function that appends {column: values} to a table, which appears at `path` on success alone."""
    schema = table.schema
    if provenance is not None:
        schema = schema.with_metadata({"provenance": json.dumps(provenance, sort_keys=True)})
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema, write_page_checksum=True) as writer:

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
