"""What is printed when a run ends well: the table, where the report is, what it cost, and what is next."""

from __future__ import annotations

from pathlib import Path

from pipeline.artifacts import ArtifactError, Layout
from pipeline.config import Config
from pipeline.datasets.tasks import classes_per_step
from pipeline.eval.cost_summary import summarise_costs
from pipeline.eval.summary import summary_rows, table
from pipeline.runtime.status import duration


def farewell(config: Config) -> str:
    """Return the lines for the end of a run.

    Says nothing of a table or a report that is not there: a part of the graph may have been asked for.
    """
    layout = Layout.of(config)
    report = Path(layout.report())
    lines: list[str] = []
    if report.exists():
        lines += [*_table(config), f"report: {report.resolve().as_uri()}"]
    lines += _cost(config)
    if report.exists():
        lines.append("next: open the report; for images of your own: webseg init FOLDER")
    return "\n".join(lines)


def _table(config: Config) -> list[str]:
    try:
        steps = len(classes_per_step(config.datasets.key, config.datasets.task)) - 1
        return [table(summary_rows(config, steps))]
    except (ArtifactError, ValueError):
        return []


def _cost(config: Config) -> list[str]:
    try:
        whole = summarise_costs(config)[-1]
    except ArtifactError:
        return []
    jobs = f"{whole.jobs} jobs took {duration(3600 * whole.cpu_hours)} of CPU time"
    gpu = f", {duration(3600 * whole.gpu_hours)} of GPU time" if whole.gpu_hours else ""
    return [f"cost: all {jobs}{gpu}, at most {whole.peak_memory_mb:.0f} MB (webseg cost says more)"]
