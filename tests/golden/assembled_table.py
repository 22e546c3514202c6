"""The table of assembled_methods.md as this checkout keeps it: one row per id, cells as they stand there.

`python -m tests.golden.assembled_table SPECIFICATION` writes assembled.tsv anew from the markdown.
"""

from __future__ import annotations

import re
import sys
from dataclasses import astuple, dataclass
from pathlib import Path

import pytest

FILE = Path(__file__).with_name("assembled.tsv")
KINDS = {
    "2": "losses",
    "3": "thresholds",
    "4": "initialisation",
    "5": "importance",
    "6": "decision",
    "7": "whole_step",
}
_IN_SECTION_8 = {"G": "groups", "L": "schedule", "F": "asks", "P": "preset"}
_ID = re.compile(r"[A-Z]-[a-z_]+(?:-\d+)?$")


@dataclass(frozen=True)
class Entry:
    """One id: which test takes it, what the row calls, its settings or situation, and its values as written."""

    id: str
    kind: str
    what: str
    situation: str
    values: str

    def numbers(self) -> dict[str, float]:
        """Return the values of `name number, name number, ...`."""
        pairs = (part.rsplit(" ", 1) for part in re.split("[,;] ", self.values))
        return {name: float(number) for name, number in pairs}


def entries(kind: str = "") -> list[Entry]:
    """Return every row, or those of a kind."""
    rows = [Entry(*line.split("\t")) for line in FILE.read_text().splitlines()[1:]]
    return [row for row in rows if kind in ("", row.kind)]


def rows(kind: str) -> pytest.MarkDecorator:
    """Parametrise a test by the rows of a kind, named by id."""
    found = entries(kind)
    return pytest.mark.parametrize("entry", found, ids=[entry.id for entry in found])


def parse(markdown: str) -> list[Entry]:
    """Return the rows of the specification's text."""
    found: list[Entry] = []
    for section in re.split(r"^## ", markdown, flags=re.MULTILINE)[1:]:
        number = section.split(".")[0]
        for line in section.splitlines():
            if line.startswith("|") and number in {*KINDS, "8"}:
                found += _row(number, [cell.strip().replace("†", "") for cell in line.strip("|\n").split("|")])
        found += [_epochs(section)] if number == "8" else []
    return found


def _row(number: str, cells: list[str]) -> list[Entry]:
    ids = _ids(cells[0])
    if cells[0] in ("id", "method", "case") or set(cells[0]) <= {"-"} or not (ids or number == "8"):
        return []
    if not ids:
        return [Entry("F-" + cells[0].replace(" ", "_"), "asks", cells[0], "", " | ".join(cells[1:]))]
    kind = KINDS.get(number) or _IN_SECTION_8[ids[0][0]]
    if kind == "losses":
        return [Entry(ids[0], kind, f"{cells[1]} {cells[2]}", cells[3], cells[4])]
    if kind == "thresholds":
        return [Entry(ids[0], kind, *(cells[1].split(", ", 1)), cells[2])]
    if kind == "groups":
        return [Entry(one, kind, _method(one), "", " | ".join(cells[2:])) for one in ids]
    what, _, values = cells[1].partition(": ") if kind in ("schedule", "importance", "preset") else ("", "", cells[1])
    return [Entry(ids[0], kind, what, "", values)]


def _ids(cell: str) -> list[str]:
    names = cell.split(", ")
    full = [name if name[0] != "-" else names[0][0] + name for name in names if name]
    return full if full and all(map(_ID.match, full)) else []


def _method(identity: str) -> str:
    return identity.split("-")[1]


def _epochs(section: str) -> Entry:
    [text] = re.findall(r"^L-epoch†: (.*)\.$", section, re.MULTILINE)
    return Entry("L-epoch", "schedule", "epochs", "", text)


def main(specification: str) -> None:
    """Write the table."""
    rows = [("id", "kind", "what", "situation", "values"), *map(astuple, parse(Path(specification).read_text()))]
    FILE.write_text("".join("\t".join(row) + "\n" for row in rows))


if __name__ == "__main__":
    main(sys.argv[1])
