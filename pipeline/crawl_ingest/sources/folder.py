"""Images on disk: one sub-folder per class, named by the class."""

from __future__ import annotations

import asyncio
import csv
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.fetch.downloader import Fetched
from pipeline.crawl_ingest.fetch.host import FetchError
from pipeline.crawl_ingest.plan import QUERY_WORDS
from pipeline.crawl_ingest.sources.base import Candidate, Query, SearchError, candidate

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
ATTRIBUTION = "attribution.csv"
"""An optional table beside the class folders: file, title, creator, licence, page_url."""


@dataclass(frozen=True)
class Place:
    """A folder of images: `scheme` names its root in addresses."""

    scheme: str
    root: Path
    folder: Path


class Folder:
    """Class folders under `crawl_ingest.path`. Addresses are `folder:<class folder>/<file>`; nothing is requested."""

    at_once = 1
    name = "folder"

    def __init__(self, settings: CrawlIngest) -> None:
        self._max_bytes = settings.max_bytes
        self.roots = {"folder": existing_folder(settings.path, self.name, "path")}
        self._about = _attribution(self.roots["folder"] / ATTRIBUTION)

    def key(self, query: Query, limit: int) -> list[Any]:
        """Return the folder with the date of its last change, and the query."""
        place = self.place(query)
        found = [str(place.folder.resolve()), place.folder.stat().st_mtime_ns] if place else []
        return [self.name, found, query["text"], query["source_image_id"], limit]

    def place(self, query: Query) -> Place | None:
        """Return the folder that answers a query, if there is one."""
        root = self.roots["folder"]
        folder = class_folder(root, query["text"])
        return Place("folder", root, folder) if folder else None

    async def search(self, query: Query, limit: int) -> AsyncIterator[Candidate]:
        """Yield the first `limit` image files of the query's folder in name order; none if there is no such folder."""
        place = self.place(query)
        if place is None:
            return
        for file in sorted(f for f in place.folder.iterdir() if f.suffix.lower() in SUFFIXES)[:limit]:
            inside = file.relative_to(place.root).as_posix()
            about = self._about.get(inside, {})
            known = {key: about.get(key) or "" for key in ("title", "creator", "licence", "page_url")}
            yield candidate(url=f"{place.scheme}:{quote(os.fsencode(inside))}", source=self.name, **known)

    async def fetch(self, url: str) -> Fetched:
        """Return a file's bytes. Raises FetchError if it is gone, too large, or outside the folder."""
        return await asyncio.to_thread(self._read, url)

    def _read(self, url: str) -> Fetched:
        scheme, _, inside = url.partition(":")
        relative = Path(os.fsdecode(unquote_to_bytes(inside)))
        if scheme not in self.roots or relative.is_absolute() or ".." in relative.parts:
            raise FetchError("scheme", url=url)
        path = self.roots[scheme] / relative
        try:
            if path.stat().st_size > self._max_bytes:
                raise FetchError("too_large", url=url)
            return Fetched(path.read_bytes(), url, 0)
        except (OSError, ValueError):
            raise FetchError("missing_file", url=url) from None


def class_folder(root: Path, text: str) -> Path | None:
    """Return the sub-folder of a class: `tv_monitor` and `tvmonitor` both answer `television`."""
    wanted = same_class(text)
    return next((f for f in sorted(root.iterdir()) if f.is_dir() and same_class(f.name) == wanted), None)


def same_class(name: str) -> str:
    """Return one spelling for the names that VOC, search boxes and the originals' folders give a class."""
    plain = re.sub(r"[\W_]+", "", name.lower())
    voc = {re.sub(r"[\W_]+", "", words): official for official, words in QUERY_WORDS.items()}
    return voc.get(plain, plain)


def existing_folder(path: str, source: str, key: str) -> Path:
    """Return the folder that a source was given. Raises SearchError if it is none."""
    if not path or not Path(path).is_dir():
        raise SearchError(f"source {source} needs crawl_ingest.{key} to be a folder, got {path!r}")
    return Path(path)


def _attribution(path: Path) -> dict[str, dict[str, str]]:
    if not path.exists():
        return {}
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as stream:
        reader = csv.DictReader(stream)
        if "file" not in (reader.fieldnames or []):
            raise SearchError(f"{path} has columns {reader.fieldnames}, expected `file` and some of title, creator, "
                              "licence, page_url")  # fmt: skip
        return {row["file"]: row for row in reader if row["file"]}
