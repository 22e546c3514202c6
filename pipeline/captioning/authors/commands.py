"""`python -m pipeline.captioning authors ...`: to and from the authors' files."""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.artifacts import CAPTIONS, MANIFEST, NOUN_FILTER, NOUNS, read_table, write_table, write_text
from pipeline.artifacts.rows import CaptionRow, NounRow
from pipeline.captioning.authors import files
from pipeline.datasets.protocol_file import read_protocol

_CONVERSIONS = ("import-captions", "import-nouns", "export-captions", "export-nouns", "export-filtered")


def add_authors(commands: Any) -> None:
    """Add the `authors` command with its conversions."""
    parser = commands.add_parser("authors", help="import, export and check the authors' files")
    kinds = parser.add_subparsers(required=True)
    for name in _CONVERSIONS:
        command = kinds.add_parser(name)
        command.add_argument("--out", type=Path, required=True)
        if name.startswith("import"):
            command.add_argument("--folder", type=Path, required=True, help="folder of <id>.txt files")
        else:
            command.add_argument("--table", type=Path, required=True)
            command.add_argument("--manifest", type=Path, required=True, help="says which source an image belongs to")
        command.set_defaults(run=_RUN[name], records_cost=False)
    check = kinds.add_parser("check-classes", help="report what is wrong with a pascal_classes.txt")
    check.add_argument("--class-file", type=Path, required=True)
    check.add_argument(
        "--protocol", type=Path, nargs="*", default=[], help="protocols of the data set, to compare with"
    )
    check.add_argument(
        "--out", type=Path, help="write the file with dog and table in place, complete where --protocol has labels"
    )
    check.set_defaults(run=_check, records_cost=False)


def import_captions(folder: Path, out: Path) -> None:
    """Write a captions table of a folder of caption files; an image is `<id>/<image file name>`."""
    rows: list[CaptionRow] = [
        {
            "image_id": f"{file.stem}/{name}",
            "caption": text,
            "seconds": 0.0,
            "model": str(folder),
            "revision": "",
            "reason": "" if text.strip() else "empty_caption",
        }
        for file in files.folder_files(folder)
        for name, text in files.read_lines(file)
    ]
    write_table(out, rows, CAPTIONS, provenance={"folder": str(folder)})


def import_nouns(folder: Path, out: Path) -> None:
    """Write a nouns table of a folder of noun files; an image is `<id>/<image file name>`."""
    rows: list[NounRow] = [
        {"image_id": f"{file.stem}/{name}", "nouns": nouns}
        for file in files.folder_files(folder)
        for name, nouns in files.read_nouns(file)
    ]
    write_table(out, rows, NOUNS, provenance={"folder": str(folder)})


def export_captions(table: Path, manifest: Path, out: Path) -> None:
    """Write a folder of caption files, one per source image."""
    captions = {row["image_id"]: row["caption"] for row in read_table(table, CAPTIONS)}
    _export(captions, manifest, out, files.write_captions)


def export_nouns(table: Path, manifest: Path, out: Path) -> None:
    """Write a folder of noun files, one per source image."""
    nouns = {row["image_id"]: row["nouns"] for row in read_table(table, NOUNS)}
    _export(nouns, manifest, out, files.write_nouns)


def export_filtered(table: Path, manifest: Path, out: Path) -> None:
    """Write a folder of lists of accepted image names, one per source image, empty ones included."""
    kept = {row["image_id"]: row["kept"] for row in read_table(table, NOUN_FILTER)}
    _export(kept, manifest, out, _write_list)


def _write_list(path: Path, rows: list[tuple[str, bool]]) -> None:
    write_text(path, "".join(f"{name}\n" for name, accepted in rows if accepted))


def _export(values: dict[str, Any], manifest: Path, out: Path, write: Callable[[Path, Any], None]) -> None:
    """Write `<source id>.txt` files; images are numbered as they were found, as the authors' downloads are."""
    by_source: dict[str, list[tuple[str, Any]]] = defaultdict(list)
    for row in read_table(manifest, MANIFEST):
        source = row["source_image_id"] or row["query_text"].replace(" ", "_")
        lines = by_source[source]
        if row["status"] == "kept" and row["image_id"] in values:
            lines.append((f"{row['rank'] + 1:05d}.jpg", values[row["image_id"]]))
    for source, lines in by_source.items():
        write(out / f"{source}.txt", sorted(lines, key=lambda line: line[0]))
    print(f"{len(by_source)} files, {sum(map(len, by_source.values()))} lines")


def _check(arguments: argparse.Namespace) -> None:
    names = files.ClassNames.read(arguments.class_file)
    labels = {row.id: row.labels for path in arguments.protocol for row in read_protocol(path).train}
    truth = files.ClassNames.of(labels) if labels else None
    print("\n".join(names.report(truth)))
    if not arguments.out:
        return
    written = names.corrected() if names.exchanged else names
    if truth is not None:
        written = written.completed(truth)
    known = sum(image in labels for image, _ in names.rows)
    print(
        f"{arguments.out}: {known} of {len(names.rows)} rows from the labels, {len(names.rows) - known} from the file"
    )
    written.write(arguments.out)


_RUN: dict[str, Callable[[argparse.Namespace], None]] = {
    "import-captions": lambda a: import_captions(a.folder, a.out),
    "import-nouns": lambda a: import_nouns(a.folder, a.out),
    "export-captions": lambda a: export_captions(a.table, a.manifest, a.out),
    "export-nouns": lambda a: export_nouns(a.table, a.manifest, a.out),
    "export-filtered": lambda a: export_filtered(a.table, a.manifest, a.out),
}
