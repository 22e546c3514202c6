"""Columns of every table on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    pass

_TEXT, _INT, _FLOAT, _BOOL = pa.string(), pa.int32(), pa.float32(), pa.bool_()


_IDS = pa.list_(pa.int32())


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
