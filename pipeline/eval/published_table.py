"""The table of published results, `experiments/published.tsv`: one experiment per task, setting and network.

Transcribed from ciss_methods.md 7, web_wilss.md 9 and recent_methods.md 7; every row names the figure or table
it was read from.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import Published
from pipeline.runtime.shipped import home, shipped

ROOT = home()
TABLE = shipped("experiments/published.tsv")
VOC, ADE, COCO_VOC = "voc", "ade", "coco-voc"
"""Data sets as the table, the files' names and `datasets.name` spell them."""
MEMORY = "m"
"""Variant of a run that keeps exemplars."""
BACKBONES = {
    "r101": "deeplabv3_resnet101",
    "r101_ssul": "deeplabv3_resnet101_ssul",
    "r101_star": "deeplabv3_resnet101_star",
    "wrn38": "deeplabv3_wide_resnet38",
    "b2": "segformer_b2",
}
"""Name of a network in the table -> `train.backbone`. SSUL's and STAR's ResNet-101 has other norms and heads."""
RESNET101 = ("r101", "r101_ssul", "r101_star")


@dataclass(frozen=True, order=True)
class Key:
    """One experiment: what all its runs have in common. `backbone` is a key of BACKBONES."""

    dataset: str
    task: str
    setting: str
    backbone: str = "r101"

    @property
    def name(self) -> str:
        """Name of the file and of the experiment."""
        network = BACKBONES[self.backbone].removeprefix("deeplabv3_")
        return "_".join((self.dataset, self.task, self.setting, network))


def read_table(path: Path = TABLE) -> dict[Key, list[Published]]:
    """Return the published results of every experiment, in the order of the table."""
    found: dict[Key, list[Published]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            key = Key(row["dataset"], row["task"], row["setting"], row["backbone"])
            found.setdefault(key, []).append(_published(row))
    return found


def _published(row: dict[str, str]) -> Published:
    numbers = {name: float(row[name]) for name in ("old", "new", "all", "avg") if row[name]}
    note = "; ".join(part for part in (row["extra"], row["note"]) if part)
    words = {name: row[name] for name in ("method", "variant", "convention", "source")}
    return Published.model_validate({**words, "note": note, **numbers})


def all_keys() -> list[Key]:
    """Return every experiment that has a published result."""
    return sorted(read_table())
