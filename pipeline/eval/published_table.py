"""The table of published results, `experiments/published.tsv`, and the grid of experiments around it.

Transcribed from ciss_methods.md 7 and web_wilss.md 9; every row names the figure or table it was read from.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import Published
from pipeline.runtime.shipped import home, shipped

ROOT = home()
TABLE = shipped("experiments/published.tsv")
PIXEL = ("ft", "pi", "ewc", "rw", "lwf", "lwf_mc", "ilt", "mib", "plop", "ssul", "sats")
"""The methods of SATS's code base."""
MEMORY = "m"
"""Variant of a run that keeps exemplars."""


@dataclass(frozen=True, order=True)
class Key:
    """One experiment file. `variant` is empty unless the variant needs other settings than a run can have."""

    dataset: str
    task: str
    setting: str
    method: str
    backbone: str = "r101"
    variant: str = ""

    @property
    def name(self) -> str:
        """Name of the file and of the experiment."""
        parts = [self.dataset, self.task, self.setting, self.method, self.variant]
        parts += ["segformer"] if self.backbone == "b2" else []
        return "_".join(part for part in parts if part)


def read_table(path: Path = TABLE) -> dict[Key, list[Published]]:
    """Return the published results of every experiment that has any."""
    found: dict[Key, list[Published]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            memory = row["variant"] == MEMORY
            variant = "" if memory else row["variant"]
            key = Key(row["dataset"], row["task"], row["setting"], row["method"], row["backbone"], variant)
            found.setdefault(key, []).append(_published(row))
    return found


def _published(row: dict[str, str]) -> Published:
    numbers = {name: float(row[name]) for name in ("old", "new", "all", "avg") if row[name]}
    note = "; ".join(part for part in (row["extra"], row["note"]) if part)
    return Published.model_validate(
        {
            "method": row["method"],
            "variant": MEMORY if row["variant"] == MEMORY else "",
            "convention": row["convention"],
            "source": row["source"],
            "note": note,
            **numbers,
        }
    )


def all_keys() -> list[Key]:
    """Return every experiment: those with a published result, and the grid of methods and tasks around them."""
    return sorted({*read_table(), *_grid()})


def _grid() -> Iterator[Key]:
    for method in PIXEL:
        for task in ("19-1", "15-5", "15-1", "10-1", "10-10", "5-3"):
            yield Key("voc", task, "overlap", method)
        for task in ("100-50", "100-10", "100-5", "50-50", "25-25"):
            yield Key("ade", task, "overlap", method)
    for method, variant in (("wilson", ""), ("web_wilss", "web100")):
        for task in ("15-1", "10-1"):
            yield Key("voc", task, "overlap", method, "r101", variant)
        yield Key("coco-voc", "voc", "disjoint", method, "wrn38", variant)
