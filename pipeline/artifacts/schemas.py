"""Columns of every table on disk, each with the type of its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import pyarrow as pa

from pipeline.artifacts import rows

Row = TypeVar("Row", bound=Mapping[str, Any])


@dataclass(frozen=True)
class Table(Generic[Row]):
    """A kind of table: the type of a row in Python and the columns on disk."""

    row: type[Row]
    schema: pa.Schema

    @property
    def names(self) -> list[str]:
        """Column names in order."""
        return list(self.schema.names)


_TEXT, _INT, _FLOAT, _BOOL = pa.string(), pa.int32(), pa.float32(), pa.bool_()


_IDS = pa.list_(pa.int32())


def _table(row: type[Row], **columns: pa.DataType) -> Table[Row]:
    return Table(row, pa.schema(list(columns.items())))


QUERIES = _table(
    rows.QueryRow, query_id=_TEXT, text=_TEXT, kind=_TEXT, class_ids=_IDS, source_image_id=_TEXT, shard=_INT
)


INGEST = _table(
    rows.IngestRow,
    image_id=_TEXT, url=_TEXT, final_url=_TEXT, page_url=_TEXT, query_id=_TEXT, rank=_INT, source=_TEXT,
    licence=_TEXT, creator=_TEXT, title=_TEXT, status=_TEXT, reason=_TEXT, http_status=_INT, width=_INT,
    height=_INT, bytes=pa.int64(), phash=_TEXT, fetched_at=_TEXT,
)  # fmt: skip


_FOUND = pa.schema(
    [("shard", _TEXT), ("query_text", _TEXT), ("kind", _TEXT), ("class_ids", _IDS), ("source_image_id", _TEXT)]
)


MANIFEST = Table(rows.ManifestRow, pa.schema([*INGEST.schema, *_FOUND]))


SAFETY = _table(rows.SafetyColumns, safety_score=_FLOAT, safety_threshold=_FLOAT)
"""Columns that INGEST and MANIFEST have at their end if images were scored; null for an image that was not."""


CAPTIONS = _table(
    rows.CaptionRow, image_id=_TEXT, caption=_TEXT, seconds=_FLOAT, model=_TEXT, revision=_TEXT, reason=_TEXT
)


NOUNS = _table(rows.NounRow, image_id=_TEXT, nouns=pa.list_(_TEXT))


NOUN_FILTER = _table(
    rows.NounFilterRow,
    image_id=_TEXT, query_id=_TEXT, role=_TEXT, class_id=_INT, caption=_TEXT, nouns=pa.list_(_TEXT),
    labels=_IDS, word=_TEXT, target=_TEXT, score=_FLOAT, threshold=_FLOAT, kept=_BOOL, reason=_TEXT,
)  # fmt: skip


NOUN_COMPARISON = _table(
    rows.NounComparisonRow,
    image_id=_TEXT, class_ids=_IDS, role=_TEXT, similarity=_TEXT, rule=_TEXT, score=_FLOAT, kept=_BOOL,
)  # fmt: skip


FOURIER = _table(
    rows.FourierRow,
    image_id=_TEXT, class_id=_INT, p_dataset=_FLOAT, p_web=_FLOAT, score=_FLOAT, threshold=_FLOAT,
    kept=_BOOL, reason=_TEXT,
)  # fmt: skip


NEW_CLASSES = _table(
    rows.NewClassRow,
    image_id=_TEXT, class_id=_INT, filters=_TEXT, labels=_IDS, image=_TEXT, rank=_INT, noun_score=_FLOAT,
    fourier_score=_FLOAT, kept=_BOOL, reason=_TEXT,
)  # fmt: skip


REPLAY = _table(
    rows.ReplayRow,
    image_id=_TEXT, query_id=_TEXT, source_image_id=_TEXT, class_ids=_IDS, image=_TEXT, score=_FLOAT,
    threshold=_FLOAT, kept=_BOOL, reason=_TEXT,
)  # fmt: skip


PSEUDOLABELS = _table(
    rows.PseudoLabelRow, image_id=_TEXT, image=_TEXT, label=_TEXT, class_ids=_IDS, confidence=_FLOAT, reason=_TEXT
)


TRAIN_LIST = _table(rows.TrainRow, image_id=_TEXT, role=_TEXT, image=_TEXT, mask=_TEXT, labels=_IDS)


SALIENCY = _table(rows.SaliencyRow, image_id=_TEXT, status=_TEXT, reason=_TEXT, seconds=_FLOAT)


TRUTH = _table(
    rows.TruthRow,
    url=_TEXT, kind=_TEXT, query_class=_INT, class_ids=_IDS, style=_TEXT, fault=_TEXT, duplicate_of=_TEXT,
    alt_is_misleading=_BOOL,
)  # fmt: skip


def with_safety(table: Table[Row]) -> Table[Row]:
    """Return a table with the columns of the safety score at its end."""
    return Table(table.row, pa.schema([*table.schema, *SAFETY.schema]))
