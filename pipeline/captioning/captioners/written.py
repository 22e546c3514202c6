"""Captions that exist already: the page's alt text, or a table or folder of the user's."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from pipeline.artifacts import CAPTIONS, read_table
from pipeline.captioning.authors.files import read_lines
from pipeline.captioning.captioners import Source, WrittenCaptions
from pipeline.captioning.captioners.snapshot import digest, files_of
from pipeline.config import Captioner as Settings


class AltText(WrittenCaptions):
    """The title or alternative text that the page gave."""

    model = "alt_text"

    def look_up(self, source: Source) -> tuple[str, str]:
        """Return the alt text."""
        text = " ".join(source.alt_text.split())
        return text, "" if text else "no_alt_text"


class CaptionTable(WrittenCaptions):
    """Captions by image id or file name from `model`, which may be

    a captions table of this pipeline (.parquet), a .csv or .tsv with a header, a .jsonl (columns `image_id` and
    `caption`), a file of the authors' ("<image file name> <caption>" a line), or a folder of such files, where an
    image of the file `<id>.txt` is known as `<id>/<image file name>`. Raises ValueError for anything else.
    """

    def __init__(self, settings: Settings) -> None:
        path = Path(settings.model)
        if not path.exists():
            raise ValueError(f"caption table {path} does not exist; captioning.captioner.model must name it")
        self.model = str(path)
        self.revision = digest(files_of(path) if path.is_dir() else [path])
        self._captions: dict[str, str] = {}
        for image, caption in _pairs(path):
            self._captions.setdefault(image, caption)

    def look_up(self, source: Source) -> tuple[str, str]:
        """Return the caption stored under the image's id, its file name, or its folder and file name."""
        file = Path(source.uri.rpartition("::")[2])
        for key in (source.image_id, f"{file.parent.name}/{file.name}", file.name, file.stem):
            if key in self._captions:
                text = " ".join(self._captions[key].split())
                return text, "" if text else "empty_caption"
        return "", "not_in_table"


def _pairs(path: Path) -> Iterator[tuple[str, str]]:
    if path.is_dir():
        for file in sorted(path.glob("*.txt")):
            yield from ((f"{file.stem}/{name}", text) for name, text in read_lines(file))
    elif path.suffix == ".parquet":
        yield from ((row["image_id"], row["caption"]) for row in read_table(path, CAPTIONS))
    elif path.suffix in (".csv", ".tsv"):
        with path.open(newline="", encoding="utf-8") as text:
            rows = csv.DictReader(text, delimiter="," if path.suffix == ".csv" else "\t")
            yield from (_columns(row, f"{path}:{rows.line_num}") for row in rows)
    elif path.suffix == ".jsonl":
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            yield _columns(_object(line, f"{path}:{number}"), f"{path}:{number}")
    else:
        yield from read_lines(path)


def _object(line: str, where: str) -> dict[str, str]:
    try:
        loaded = json.loads(line)
    except json.JSONDecodeError:
        loaded = None
    if not isinstance(loaded, dict):
        raise ValueError(f"{where}: expected a JSON object with image_id and caption, got {line[:60]!r}")
    return loaded


def _columns(row: dict[str, str], where: str) -> tuple[str, str]:
    if row.get("image_id") is None or row.get("caption") is None:
        raise ValueError(f"{where}: expected the columns image_id and caption, got {', '.join(map(str, row))}")
    return row["image_id"], row["caption"]
