"""The report: one HTML page that works offline and tells the experiment's story with its own numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from pipeline.artifacts import write_text
from pipeline.config import Config, load_config
from pipeline.config.plans import learns_from_web
from pipeline.datasets.tasks import classes_per_step
from pipeline.eval.comparison import Comparison, comparison
from pipeline.eval.cost_summary import summarise_costs
from pipeline.eval.paper_ranks import paper_tables
from pipeline.eval.report.figures import bars, heat_map, loss_curves, step_lines
from pipeline.eval.report.filters import filter_section
from pipeline.eval.report.notes import notes, title
from pipeline.eval.report.pictures import overlay_rows, web_gallery
from pipeline.eval.report.provenance import provenance, recorded
from pipeline.eval.report.results import Results, costs, forgetting_rows, label, story
from pipeline.eval.summary import summary_rows
from pipeline.runtime.shipped import shipped

MIN_RANKED = 5
"""Fewer methods than this are not ranked against the published column."""
TEMPLATE, STYLE, SCRIPT = (Path(__file__).with_name(name) for name in ("page.html", "page.css", "page.js"))


def write_report(config: Config, steps: int, out: Path, command: str = "") -> None:
    """Write the page; its foot names the `command` that made it.

    Raises ArtifactError naming the first missing or unreadable input.
    """
    results = Results(config, steps, summary_rows(config, steps))
    web = filter_section(config, steps) if results.uses_web else None
    context = {
        "config": config,
        "results": results,
        "label": label,
        "story": story(results, web),
        "bars": bars(results),
        "lines": step_lines(results) if steps > 1 else "",
        "heat_map": heat_map(results),
        "losses": loss_curves(results),
        "forgetting": forgetting_rows(results),
        "costs": costs(results),
        "title": title(results),
        "notes": notes(results),
        "provenance": provenance(results, out, command, costs(results)),
        "bill": summarise_costs(config),
        "web": web,
        "gallery": web_gallery(config, steps) if learns_from_web(config) else [],
        "overlays": overlay_rows(results),
        "comparison": _comparison(results),
        "papers": paper_tables(config),
        "companion": _companion(config),
        "conventions": recorded(results, "conventions"),
        "chosen_on_test_images": any(recorded(results, "chosen_on_test_images")),
    }
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    context |= {"style": STYLE.read_text(), "script": SCRIPT.read_text()}
    write_text(out, environment.from_string(TEMPLATE.read_text()).render(context))


def _comparison(results: Results) -> Comparison | None:
    """Return our order of the methods beside the published one, if enough methods ran to rank them.

    The published column is of VOC; own data may have a task of the same name. An experiment that brings its papers'
    rows is compared with those (`paper_tables`).
    """
    if results.config.published or results.config.datasets.name not in ("voc", "minivoc"):
        return None
    found = comparison(results.rows, results.config.datasets.task)
    return found if found.agreement.methods >= MIN_RANKED else None


def _companion(config: Config) -> dict[str, Any] | None:
    """Return what the page shows of the companion experiment."""
    if not config.experiment.companion or config.experiment.only:
        return None
    other = load_config([shipped("config.yaml"), config.experiment.companion])
    steps = len(classes_per_step(other.datasets.key, other.datasets.task)) - 1
    results = Results(other, steps, summary_rows(other, steps))
    return {
        "config": other,
        "results": results,
        "bars": bars(results, ("first", "last", "all")),
        "lines": step_lines(results),
        "comparison": _comparison(results),
    }
