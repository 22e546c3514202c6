"""summary.csv: one row per method, variant, seed and step; and the table `make run` prints."""

from __future__ import annotations

import csv
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.artifacts import Layout, atomic_path, read_json
from pipeline.config import Config
from pipeline.methods.recipes import base_recipes

COLUMNS = ("method", "variant", "seed", "step", "old", "new", "all", "all_no_background", "harmonic")
_SCORES = COLUMNS[4:]


def write_summary(config: Config, steps: int, out: Path) -> list[dict[str, Any]]:
    """Write summary.csv from every run's eval.json and return its rows (mIoU in percent, None if absent).

    `steps` is the number of the last step. Step 0 of a run is its shared base step.
    """
    rows = summary_rows(config, steps)
    with atomic_path(out) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return rows


def summary_rows(config: Config, steps: int) -> list[dict[str, Any]]:
    """Return the rows of the summary without writing them."""
    paths, recipes = Layout.of(config), base_recipes(config)
    rows = []
    for run in config.experiment.chosen:
        for seed in config.experiment.seeds:
            for step in range(steps + 1):
                path = (
                    paths.step(run.name, seed, step, "eval.json")
                    if step
                    else paths.base(recipes[run.name], seed, "eval.json")
                )
                scores = read_json(path)
                row = {"method": run.method, "variant": run.variant, "seed": seed, "step": step}
                rows.append({**row, **{key: scores[key] for key in _SCORES}})
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the last step of every method as text, mean over seeds and spread (standard deviation)."""
    last = max(row["step"] for row in rows)
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        if row["step"] == last:
            groups.setdefault((row["method"], row["variant"]), []).append(row)
    columns = ("old", "new", "all", "all_no_background", "harmonic")
    lines = [f"{'method':24s} {'seeds':>5s} " + " ".join(f"{key:>17s}" for key in columns)]
    for (method, variant), group in groups.items():
        name = f"{method} ({variant})" if variant else method
        cells = [spread([row[key] for row in group]) for key in columns]
        lines.append(f"{name:24s} {len(group):5d} " + " ".join(f"{cell:>17s}" for cell in cells))
    return "\n".join(lines)


def spread(values: Sequence[float | None]) -> str:
    """Return `mean ± standard deviation` of percentages, or the one value, or a dash."""
    known = [v for v in values if v is not None and not math.isnan(v)]
    if not known:
        return "-"
    if len(known) == 1:
        return f"{known[0]:.1f}"
    return f"{statistics.mean(known):.1f} ± {statistics.stdev(known):.1f}"
