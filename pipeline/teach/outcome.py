"""Old model and taught model side by side: what every class lost or gained, and whether that is too much."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.artifacts import Layout, read_json, write_text
from pipeline.config import Config
from pipeline.datasets.protocol_file import read_protocol
from pipeline.teach.experiment import STEP
from pipeline.teach.import_base import RECIPE

TABLE = "outcome.csv"
COLUMNS = ("class", "before", "after", "lost", "area_before", "area_after")


@dataclass(frozen=True)
class ClassOutcome:
    """One class: IoU in percent before and after, None where it cannot be said, and its share of all pixels."""

    name: str
    before: float | None
    after: float | None
    area_before: float
    area_after: float

    @property
    def lost(self) -> float | None:
        """IoU points lost, negative for a gain."""
        return None if self.before is None or self.after is None else round(self.before - self.after, 4)


@dataclass(frozen=True)
class Outcome:
    """What the evaluation of both models says."""

    rows: tuple[ClassOutcome, ...]
    n_old: int
    """Classes of the given model, background included."""
    images: int
    truth: bool
    """Whether `before` and `after` are measured against true masks, not against the given model's predictions."""
    max_forgetting: float

    @property
    def forgetting(self) -> float | None:
        """Mean IoU points that the old classes lost, background left out; None if no old class was seen."""
        lost = [row.lost for row in self.rows[1 : self.n_old] if row.lost is not None]
        return sum(lost) / len(lost) if lost else None

    @property
    def too_much(self) -> bool:
        """Whether the old classes lost more than is allowed."""
        return self.forgetting is not None and self.forgetting > self.max_forgetting

    def lines(self) -> list[str]:
        """Return what the command prints."""
        if not self.images:
            return ["Nothing was measured: without --check and --like there is no image to compare the models on."]
        against = "their true masks" if self.truth else "the given model's own predictions"
        lines = [f"{self.images} images, against {against}; IoU in percent, area in percent of all pixels:"]
        if not self.truth:
            lines.append("Nothing was measured against a truth. `before` is 100 but for what cropping changes.")
        lines.append(f"{'class':24s} before  after   lost  area before  after")
        for row in self.rows:
            figures = (f"{'-':>6s}" if v is None else f"{v:6.1f}" for v in (row.before, row.after, row.lost))
            lines.append(f"{row.name:24s} {' '.join(figures)}       {row.area_before:6.2f} {row.area_after:6.2f}")
        if self.forgetting is not None:
            lines.append(f"old classes lost {self.forgetting:.1f} points on average")
        return lines

    def warning(self) -> list[str]:
        """Return the warning and the classes that lost more than is allowed, empty if there is none."""
        if not self.too_much:
            return []
        lost = sorted((row for row in self.rows[1 : self.n_old] if row.lost), key=lambda row: -(row.lost or 0))
        worst = [f"  {row.name}: {row.lost:.1f} points" for row in lost if (row.lost or 0) > self.max_forgetting]
        return [
            f"warning: the old classes lost {self.forgetting:.1f} points on average, more than --max-forgetting "
            f"{self.max_forgetting:g}; the given model is as it was. Classes that lost more:",
            *worst,
        ]


def outcome(config: Config) -> Outcome:
    """Return the comparison of a finished experiment. Raises ArtifactError if an evaluation is missing."""
    paths, run, seed = Layout.of(config), config.experiment.runs[0].name, config.experiment.seeds[0]
    before = read_json(paths.base(RECIPE, seed, "eval.json"))["iou"]
    result = read_json(paths.step(run, seed, STEP, "eval.json"))
    protocol = read_protocol(paths.protocol(STEP))
    old = np.load(paths.base(RECIPE, seed, "confusion.npy"), allow_pickle=False)
    new = np.load(paths.step(run, seed, STEP, "confusion.npy"), allow_pickle=False)
    rows = [
        ClassOutcome(
            name,
            before.get(name),
            result["iou"][name],
            _share(old, channel) if channel < len(old) else 0.0,
            _share(new, channel),
        )
        for channel, name in enumerate(protocol.channel_names)
    ]
    teach = config.teach
    return Outcome(tuple(rows), protocol.step_sizes[0], result["images"], bool(teach.check), teach.max_forgetting)


def _share(confusion: np.ndarray, channel: int) -> float:
    """Return how much of all pixels was predicted as a channel, percent; rows of the matrix are the truth."""
    return 100 * float(confusion[:, channel].sum()) / max(1.0, float(confusion.sum()))


def write_outcome(found: Outcome, folder: Path) -> None:
    """Write outcome.csv."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in found.rows:
        values = (row.before, row.after, row.lost, row.area_before, row.area_after)
        writer.writerow([row.name, *("" if v is None else round(v, 4) for v in values)])
    write_text(folder / TABLE, text.getvalue())
