"""The report: one HTML page that works offline and tells the experiment's story with its own numbers."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, StrictUndefined

from pipeline.artifacts import write_text
from pipeline.config import Config
from pipeline.eval.report.figures import bars, heat_map, loss_curves
from pipeline.eval.report.filters import filter_section
from pipeline.eval.report.pictures import overlay_rows, web_gallery
from pipeline.eval.report.results import Results, costs, forgetting_rows, story
from pipeline.eval.summary import summary_rows

TEMPLATE = Path(__file__).with_name("page.html")


def write_report(config: Config, steps: int, out: Path) -> None:
    """Write the page. Raises ArtifactError naming the first missing or unreadable input."""
    results = Results(config, steps, summary_rows(config, steps))
    web = filter_section(config, steps) if results.uses_web else None
    context = {
        "config": config,
        "results": results,
        "story": story(results, web),
        "bars": bars(results),
        "heat_map": heat_map(results),
        "losses": loss_curves(results),
        "forgetting": forgetting_rows(results),
        "costs": costs(results),
        "web": web,
        "gallery": web_gallery(config, steps) if web else [],
        "overlays": overlay_rows(results),
    }
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    write_text(out, environment.from_string(TEMPLATE.read_text()).render(context))
