"""Lists of addresses: CSV or Parquet with the columns of LAION, DataComp or COYO, or of your own.

Column names as their data cards give them (read 2026-11): LAION `URL`, `TEXT`, `LICENSE`; DataComp `url`, `text`,
`sha256`; COYO `url`, `text`. Case does not matter. A column `query` or `class` says which query a row answers;
without one, a row answers a query if its text holds all the query's words.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.checks.licence import canonical
from pipeline.crawl_ingest.fetch.downloader import Downloader, Fetched
from pipeline.crawl_ingest.sources.base import Candidate, Query, SearchError, candidate

NAMES = {
    "url": ("url", "image_url", "image_link"),
    "title": ("text", "caption", "title", "alt", "top_caption"),
    "licence": ("license", "licence"),
    "page_url": ("page_url", "foreign_landing_url", "page"),
    "creator": ("creator", "author", "artist"),
    "sha256": ("sha256",),
    "query": ("query", "class", "class_name", "label"),
}
"""Our name of a column, and what lists call it."""
SUFFIXES = (".parquet", ".csv")
BATCH = 16384


class UrlList:
    """A file, or a folder of files in name order. Read in batches: memory does not grow with the list."""

    at_once = 1

    def __init__(self, settings: CrawlIngest, downloader: Downloader) -> None:
        self._files, self._downloader = _files(settings.path), downloader

    def key(self, query: Query, limit: int) -> list[Any]:
        """Return the list's files with size and date, and the query."""
        stamps = [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in self._files]
        return ["url_list", stamps, query["text"], limit]

    async def fetch(self, url: str) -> Fetched:
        """Return the bytes of an address."""
        return await self._downloader.fetch(url)

    async def search(self, query: Query, limit: int) -> AsyncIterator[Candidate]:
        """Yield up to `limit` rows that answer the query, in the order of the list. Raises SearchError."""
        left = limit
        for file in self._files:
            try:
                for batch in _batches(file):
                    for row in _answers(batch, query["text"], left):
                        left -= 1
                        yield candidate(**row, source=file.name)
                    if not left:
                        return
            except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
                raise SearchError(f"list {file} cannot be read: {str(error).splitlines()[0]}") from None


def _files(name: str) -> list[Path]:
    path = Path(name)
    if not name or not path.exists():
        raise SearchError(
            f"source url_list needs crawl_ingest.path to be a CSV or Parquet file or folder, got {name!r}"
        )
    files = sorted(f for f in path.iterdir() if f.suffix in SUFFIXES) if path.is_dir() else [path]
    if not files or any(file.suffix not in SUFFIXES for file in files):
        raise SearchError(f"list {path} holds no .csv or .parquet file")
    return files


def _batches(file: Path) -> Iterator[pa.Table]:
    if file.suffix == ".parquet":
        parquet = pq.ParquetFile(file)
        chosen = _columns(parquet.schema_arrow.names, file)
        for batch in parquet.iter_batches(batch_size=BATCH, columns=list(chosen)):
            yield _renamed(batch, chosen)
        return
    parsing = pa.csv.ParseOptions(newlines_in_values=True)
    with pa.csv.open_csv(file, parse_options=parsing) as reader:
        chosen = _columns(reader.schema.names, file)
    # Types are not guessed: a title may begin with a hundred numbers.
    types = dict.fromkeys(chosen, pa.string())
    converting = pa.csv.ConvertOptions(column_types=types, include_columns=list(chosen), strings_can_be_null=False)
    with pa.csv.open_csv(file, parse_options=parsing, convert_options=converting) as reader:
        for batch in reader:
            yield _renamed(batch, chosen)


def _columns(names: list[str], file: Path) -> dict[str, str]:
    lower = {name.strip().lower(): name for name in reversed(names)}
    found = {ours: next((lower[n] for n in theirs if n in lower), "") for ours, theirs in NAMES.items()}
    chosen = {name: ours for ours, name in found.items() if name}
    if not found["url"] or not (found["title"] or found["query"]):
        raise SearchError(f"list {file} has columns {names}, expected `url` and `text`, or `url` and `query`")
    return chosen


def _renamed(batch: pa.RecordBatch, chosen: dict[str, str]) -> pa.Table:
    columns = {ours: pc.fill_null(batch[name].cast(pa.string()), "") for name, ours in chosen.items()}
    return pa.table(columns)


def _answers(table: pa.Table, words: str, limit: int) -> Iterator[dict[str, str]]:
    mask = pc.not_equal(table["url"], "")
    if "query" in table.column_names:
        mask = pc.and_(mask, pc.equal(pc.utf8_lower(pc.utf8_trim_whitespace(table["query"])), words.strip().lower()))
    else:
        for word in words.split():
            mask = pc.and_(mask, pc.match_substring_regex(table["title"], _whole(word), ignore_case=True))
    kept = table.filter(mask).slice(0, limit)
    for row in kept.drop_columns(["query"] if "query" in kept.column_names else []).to_pylist():
        yield {**row, "licence": canonical(row["licence"][:200])} if row.get("licence") else row


def _whole(word: str) -> str:
    edge = r"[^\pL\pN_]"
    return f"(?:^|{edge}){re.escape(word)}(?:{edge}|$)"
