"""The model card: what was recorded about a model, and `unknown` where nothing was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline.artifacts import read_json
from pipeline.predict.network import Model

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Exported:
    """What an export adds to the card."""

    format: str
    files: Sequence[str]
    how: Sequence[str]
    """What the files need and how they are used, a line each."""
    compared: str
    """How its output was compared with the model's, with figures."""


def card(model: Model, exports: Sequence[Exported], command: str, versions: Mapping[str, str]) -> str:
    """Return the model card in Markdown."""
    facts, recorded = model.facts, dict(model.facts.get("config") or {})
    lines = [
        f"# {model.architecture}, {len(model.class_names)} classes",
        "",
        "Written by `python -m pipeline.predict export` from what was recorded; what was not is said to be unknown.",
        "",
        "## Model",
        "",
        f"- Exported from: `{model.path}`",
        f"- Network: {model.architecture}",
        *(_training(facts, recorded) if model.kind == "step" else _foreign(model)),
        *(f"- Note: {note}" for note in model.notes),
        "",
        "## Classes",
        "",
        *_classes(model),
        "",
        "## Data it learned from",
        "",
        *(_data(model, facts) if model.kind == "step" else [f"- {UNKNOWN}: the model's files do not say"]),
        "",
        "## Metrics",
        "",
        *_metrics(model),
        "",
        "## Files",
        "",
    ]
    for export in exports:
        lines += [f"### {export.format}", "", *(f"- `{name}`" for name in export.files)]
        lines += [*(f"- {line}" for line in export.how), f"- Compared: {export.compared}", ""]
    lines += ["## How it was made", "", f"- Export: `{command}`"]
    lines += [f"- Versions of the export: {_listed(versions)}"]
    lines += [f"- Versions of the training: {_listed(recorded.get('versions') or {})}"]
    return "\n".join(lines) + "\n"


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items()) or UNKNOWN


def _training(facts: Mapping[str, Any], recorded: Mapping[str, Any]) -> list[str]:
    def known(key: str) -> Any:
        value = facts.get(key, recorded.get(key))
        return UNKNOWN if value in (None, "") else value

    lines = [f"- {title}: {known(key)}" for title, key in (("Method", "method"), ("Step", "step"), ("Seed", "seed"))]
    lines.append(f"- Task: {known('dataset')} {known('task')}, setting {known('setting')}")
    lines.append(f"- Method's settings: {_listed(recorded.get('settings') or {})}")
    phase = recorded.get("phase") or {}
    lines.append(f"- Training: {_listed(phase)}")
    if "imported_from" in facts:
        lines.append(f"- Imported from: {facts['imported_from']}")
    return lines


def _foreign(model: Model) -> list[str]:
    listed = ", ".join(f"{name} {value}" for name, value in model.facts.items() if value)
    return [
        f"- Format: {model.kind}{f' ({listed})' if listed else ''}",
        f"- Training: {UNKNOWN}",
        f"- Licence: {UNKNOWN}",
    ]


def _classes(model: Model) -> list[str]:
    steps = _steps(model)
    lines = ["| mask value | class | learned at step |", "| --- | --- | --- |"]
    for value, name in enumerate(model.class_names):
        lines.append(f"| {value} | {_cell(name)} | {steps[value] if steps else UNKNOWN} |")
    return lines


def _steps(model: Model) -> list[int]:
    heads, step = model.facts.get("classes_per_step"), model.facts.get("step")
    if not heads or step is None:
        return []
    later = [number for number, count in enumerate(heads[len(heads) - step :], 1) for _ in range(count)]
    return [0] * (len(model.class_names) - len(later)) + later


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _data(model: Model, facts: Mapping[str, Any]) -> list[str]:
    lines = [f"- Step 0: data set {facts.get('dataset') or UNKNOWN}, its licence: {UNKNOWN} here, see its own terms"]
    for step in range(1, int(facts.get("step") or 0) + 1):
        lines += _step_data(model.path.parent, step, int(facts["step"]))
    return lines


def _step_data(folder: Path, step: int, last: int) -> list[str]:
    path = (folder if step == last else folder.parent / f"step{step}") / "train_list.parquet"
    if not path.is_file():
        return [f"- Step {step}: {UNKNOWN}, there is no {path}"]
    rows = pq.read_table(path, columns=["image_id", "role", "image"]).to_pylist()
    roles = Counter(row["role"] for row in rows)
    lines = [f"- Step {step}: {', '.join(f'{count} images of role {role}' for role, count in sorted(roles.items()))}"]
    web = [row for row in rows if ".tar::" in row["image"]]
    return [*lines, *_licences(step, web)] if web else lines


def _licences(step: int, web: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the licences and sources of web images, from the manifests of the pool that holds their shards."""
    wanted = {row["image_id"] for row in web}
    found: dict[str, dict[str, Any]] = {}
    pools = sorted({str(Path(row["image"].partition("::")[0]).parents[1]) for row in web})
    for pool in pools:
        for manifest in sorted(Path(pool, "manifests").glob("*.parquet")):
            columns = ["image_id", "status", "licence", "source"]
            for row in pq.read_table(manifest, columns=columns).to_pylist():
                if row["image_id"] in wanted and row["status"] == "kept":
                    found[row["image_id"]] = row
    lines = []
    for column, title in (("licence", "licences"), ("source", "found through")):
        counts = Counter((found.get(name) or {}).get(column) or UNKNOWN for name in sorted(wanted))
        listed = ", ".join(f"{_cell(str(value))} {count}" for value, count in counts.most_common())
        lines.append(f"  - {title} of its {len(wanted)} web images: {listed}")
    cards = [str(Path(pool, "attribution.csv")) for pool in pools if Path(pool, "attribution.csv").is_file()]
    return [*lines, f"  - who made them: {', '.join(f'`{name}`' for name in cards) or UNKNOWN}"]


def _metrics(model: Model) -> list[str]:
    path = model.path.with_name("eval.json")
    if model.kind != "step" or not path.is_file():
        return [f"- {UNKNOWN}: no eval.json lies beside the model"]
    result = read_json(path)
    lines = [
        f"Percent, on {result.get('images', UNKNOWN)} validation images of {result.get('dataset', UNKNOWN)} "
        f"{result.get('task', '')}, step {result.get('step', UNKNOWN)}; "
        f"{result.get('conventions', 'conventions unknown')}.",
        "",
    ]
    for key in ("old", "new", "all", "all_no_background", "harmonic"):
        value = result.get(key)
        lines.append(f"- mIoU {key.replace('_', ' ')}: {'none' if value is None else format(value, '.2f')}")
    classes = {name: value for name, value in (result.get("iou") or {}).items() if value is not None}
    lines.append(f"- IoU by class: {', '.join(f'{name} {value:.1f}' for name, value in classes.items()) or UNKNOWN}")
    return lines
