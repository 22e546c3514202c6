"""Charts as inline SVG."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from typing import TYPE_CHECKING

from pipeline.eval.report.results import Results, label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {"old": "#3b6ea8", "new": "#e08a2e", "all": "#3a3f4b", "first": "#3b6ea8", "last": "#e08a2e"}
MISSING = "#f0f1f4"


def bars(results: Results, keys: tuple[str, str, str] = ("old", "new", "all")) -> str:
    """Return three scores per run with spread over seeds, the base model of every recipe first."""
    import statistics

    runs = results.config.experiment.chosen
    shown = [(results.base_name(run), run, 0) for run in results.base_runs]
    shown += [(label(run), run, results.steps) for run in runs]
    names = [name for name, _, _ in shown]
    figure, axes = _figure(max(10, 0.9 * len(names)), 3.6)
    for k, key in enumerate(keys):
        heights, spreads = list[float](), list[float]()
        for _, run, step in shown:
            values = results.values(run, step, key)
            heights.append(statistics.mean(values) if values else 0.0)
            spreads.append(statistics.stdev(values) if len(values) > 1 else 0.0)
        places = [i + 0.27 * (k - 1) for i in range(len(names))]
        drawn = axes.bar(
            places, heights, 0.25, yerr=[s or float("nan") for s in spreads], label=key, color=COLOURS[key]
        )
        axes.bar_label(drawn, [f"{h:.0f}" if h else "" for h in heights], fontsize=8, padding=2)
    axes.set_xticks(range(len(names)), [_wrap(name) for name in names], fontsize=9)
    axes.set_ylabel("mIoU, %")
    axes.legend(frameon=False, ncols=3, loc="upper right")
    axes.margins(y=0.18)
    return _svg(figure, "Bars of mIoU per run: " + ", ".join(names))


def heat_map(results: Results) -> str:
    """Return IoU per class (columns) and run and step (rows)."""
    import numpy as np

    lines = []
    seen = set()
    for run in results.config.experiment.chosen:
        for step in range(results.steps + 1):
            path = results.file(run, results.config.experiment.seeds[0], step, "eval.json")
            if path not in seen:
                seen.add(path)
                name = results.base_name(run) if step == 0 else f"{label(run)}, step {step}"
                lines.append((name, results.iou(run, step)))
    lines.sort(key=lambda line: not line[0].startswith("base"))
    protocol = results.protocol(results.steps)
    classes = protocol.channel_names
    table = np.array([[np.nan if iou.get(c) is None else iou[c] for c in classes] for _, iou in lines], float)
    figure, axes = _figure(11, 0.36 * len(lines) + 1.6)
    shades = _colour_map()
    axes.imshow(table, cmap=shades, vmin=0, vmax=100, aspect="auto")
    for (row, column), value in np.ndenumerate(table):
        if not np.isnan(value):
            colour = "white" if value > 55 else "#222"
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=7.5, color=colour)
    axes.set_yticks(range(len(lines)), [name for name, _ in lines], fontsize=9)
    axes.set_xticks(range(len(classes)), classes, rotation=50, ha="right", fontsize=8.5)
    boundary = len(protocol.order) - sum(protocol.step_sizes[1:])
    axes.axvline(boundary - 0.5, color="#e08a2e", lw=2)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return _svg(figure, "IoU of every class (columns) per model and step (rows)")


def step_lines(results: Results) -> str:
    """Return the mIoU over all classes seen so far, per run and step."""
    from matplotlib import colormaps

    figure, axes = _figure(10, 4)
    steps = range(results.steps + 1)
    for k, run in enumerate(results.config.experiment.chosen):
        values = [results.mean(run, step, "all") for step in steps]
        axes.plot(steps, values, marker="o", ms=3, lw=1.4, color=colormaps["tab20"](k % 20), label=label(run))
    axes.set_xticks(list(steps))
    axes.set_xlabel("step")
    axes.set_ylabel("mIoU over all classes so far, %")
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _svg(figure, "mIoU over all classes learned so far, per run and step")


def loss_curves(results: Results) -> list[tuple[str, str]]:
    """Return (run, chart) of the smoothed loss terms of the last step, first seed."""
    charts = []
    seed = results.config.experiment.seeds[0]
    for run in results.config.experiment.chosen:
        terms: dict[str, list[tuple[int, float]]] = defaultdict(list)
        with open(results.file(run, seed, results.steps, "log.csv"), newline="") as file:
            for row in csv.DictReader(file):
                terms[row["term"]].append((int(row["iteration"]), float(row["value"])))
        figure, axes = _figure(4.6, 2.5)
        for name, points in terms.items():
            if name != "loss" or len(terms) == 1:
                axes.plot([x for x, _ in points], _smooth([y for _, y in points]), lw=1.3, label=name)
        axes.set_yscale("log")
        axes.set_xlabel("iteration", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.legend(frameon=False, fontsize=7, ncols=3)
        charts.append((label(run), _svg(figure, f"Loss terms of {label(run)} by iteration: {', '.join(terms)}")))
    return charts


def _figure(width: float, height: float):  # type: ignore[no-untyped-def]
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "report", "font.family": "DejaVu Sans", "svg.fonttype": "path"})
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(width, height), layout="constrained")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _colour_map():  # type: ignore[no-untyped-def]
    from matplotlib.colors import LinearSegmentedColormap

    shades = LinearSegmentedColormap.from_list("iou", ["#f7f3ea", "#9fc2d9", "#3b6ea8", "#1c3557"])
    shades.set_bad(MISSING)
    return shades


def _svg(figure: Figure, title: str) -> str:
    from html import escape

    import matplotlib.pyplot as plt

    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    plt.close(figure)
    drawing = buffer.getvalue().split("\n", 3)[-1]
    return drawing.replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1)


def _smooth(values: list[float], width: int = 5) -> list[float]:
    return [sum(values[max(0, i - width + 1) : i + 1]) / min(i + 1, width) for i in range(len(values))]


def _wrap(name: str) -> str:
    return name.replace(", ", ",\n")
