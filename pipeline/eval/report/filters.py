"""How good the filters were, measured against the mini web's truth, which no stage before reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.artifacts import (
    FOURIER,
    MANIFEST,
    NEW_CLASSES,
    NOUN_COMPARISON,
    NOUN_FILTER,
    REPLAY,
    TRUTH,
    Layout,
    read_json,
    read_table,
)
from pipeline.artifacts.rows import ManifestRow, TruthRow
from pipeline.config import Config
from pipeline.config.plans import has_images, learns_from_web, plans, replay_tables, strictest

Row = dict[str, Any]
"""What the page's template reads."""
Manifests = dict[str, list[ManifestRow]]
"""The rows of every plan's manifest."""
Truth = dict[str, TruthRow]
"""What the mini web's images show, by address."""


def filter_section(config: Config, steps: int) -> Row:
    """Return funnel counts, refusals, filter quality and discriminator figures of all steps.

    What needs the truth is empty on the open web, and `metrics` is None without a discriminator: where replay images
    alone come from the web, or a model was taught without images to fit one on.
    """
    paths = Layout.of(config)
    manifests = {plan: read_table(paths.manifest(plan), MANIFEST) for plan in plans(config, steps)}
    truth, new = read_truth(paths), learns_from_web(config)
    metrics = read_json(paths.fourier("metrics.json")) if new and has_images(config) else None
    judged = bool(truth) and metrics is not None
    return {
        "funnel": _funnel(config, steps, manifests),
        "refusals": _refusals(manifests),
        "quality": _quality(paths, steps, manifests, truth) if judged else [],
        "by_filter": _by_filter(paths, steps, manifests, truth) if judged else [],
        "by_similarity": by_similarity(paths, steps, manifests, truth) if truth and has_images(config) else [],
        "style": _style_auroc(metrics, manifests["base"], truth) if judged and metrics else [],
        "metrics": metrics,
        "ceiling": _ceiling(manifests["base"], truth) if judged else None,
    }


def read_truth(paths: Layout) -> Truth:
    """Return the truth by address; empty where the web was not the mini web."""
    if not Path(paths.truth()).exists():
        return {}
    return {row["url"]: row for row in read_table(paths.truth(), TRUTH)}


def _funnel(config: Config, steps: int, manifests: Manifests) -> list[Row]:
    paths, rows = Layout.of(config), list[Row]()
    for plan, table in manifests.items():
        kept = sum(row["status"] == "kept" for row in table)
        stages = [("addresses found", len(table)), ("downloaded and distinct", kept)]
        rows.append({"plan": plan, "title": _title(plan), "stages": stages})
    for step in range(1, steps + 1):
        if f"step{step}" in manifests:
            nouns = read_table(paths.selection(step, "noun_filter"), NOUN_FILTER)
            fourier = read_table(paths.selection(step, "fourier"), FOURIER)
            chosen = read_table(paths.selection(step, "new_classes"), NEW_CLASSES)
            stages = next(row["stages"] for row in rows if row["plan"] == f"step{step}")
            stages.append(("pass the noun filter", sum(row["kept"] for row in nouns)))
            if has_images(config):
                stages.append(("score above 0 (Fourier)", sum(row["score"] > 0 for row in fourier)))
            last = strictest(config)
            stages.append((f"kept by {last}", sum(r["kept"] and r["filters"] == last for r in chosen)))
        if f"replay{step}" in manifests:
            judged = read_table(paths.selection(step, "noun_filter_replay"), NOUN_FILTER)
            stages = next(row["stages"] for row in rows if row["plan"] == f"replay{step}")
            stages.append(("pass the noun filter", sum(row["kept"] for row in judged)))
            for name in replay_tables(config):
                kept = sum(row["kept"] for row in read_table(paths.selection(step, name), REPLAY))
                stages.append((f"kept within {name.replace('replay', 'the budget').replace('_', ' of ')}", kept))
    for row in rows:
        top = max(count for _, count in row["stages"]) or 1
        row["stages"] = [(name, count, 100 * count / top) for name, count in row["stages"]]
    return rows


def _title(plan: str) -> str:
    if plan == "base":
        return "Base classes, to fit the discriminator"
    if plan.startswith("replay"):
        return f"Step {plan.removeprefix('replay')}: old classes, by caption"
    return f"Step {plan.removeprefix('step')}: new classes, by name"


def _refusals(manifests: Manifests) -> list[tuple[str, str, int]]:
    counts = Counter((row["status"], row["reason"]) for table in manifests.values() for row in table if row["reason"])
    return sorted(((status, reason, n) for (status, reason), n in counts.items()), key=lambda item: -item[2])


def _candidates(paths: Layout, steps: int, manifests: Manifests, truth: Truth) -> list[Row]:
    rows = []
    for step in range(1, steps + 1):
        urls = {r["image_id"]: r["url"] for r in manifests[f"step{step}"] if r["status"] == "kept"}
        for row in read_table(paths.selection(step, "new_classes"), NEW_CLASSES):
            known = truth.get(urls[row["image_id"]])
            if known is not None:
                rows.append(
                    {
                        **row,
                        "right": row["class_id"] in known["class_ids"],
                        "in_domain": known["style"] == "photo",
                    }
                )
    return rows


def _quality(paths: Layout, steps: int, manifests: Manifests, truth: Truth) -> list[Row]:
    """Share of right-class and in-domain images among the candidates and among what each filter pair kept."""
    rows = _candidates(paths, steps, manifests, truth)
    groups: list[tuple[str, list[Row]]] = [("all candidates", [r for r in rows if r["filters"] == "none"])]
    titles = {
        "none": "first in search order", "noun": "noun filter", "fourier": "Fourier filter", "both": "both filters"
    }  # fmt: skip
    for filters, title in titles.items():
        groups.append((title, [r for r in rows if r["filters"] == filters and r["kept"]]))
    return [
        {
            "name": name,
            "images": len(group),
            "right": _share(group, lambda r: r["right"]),
            "in_domain": _share(group, lambda r: r["in_domain"]),
            "useful": _share(group, lambda r: r["right"] and r["in_domain"]),
        }
        for name, group in groups
    ]


def _by_filter(paths: Layout, steps: int, manifests: Manifests, truth: Truth) -> list[Row]:
    """Precision, recall and F1 of each filter as a classifier of all candidates, budget aside."""
    rows = [r for r in _candidates(paths, steps, manifests, truth) if r["filters"] == "both"]
    noun = [not r["reason"].startswith("noun:") for r in rows]
    fourier = [r["fourier_score"] > 0 for r in rows]
    return [
        {"name": "noun filter finds the class", **_scores(noun, [r["right"] for r in rows])},
        {"name": "Fourier filter finds the domain", **_scores(fourier, [r["in_domain"] for r in rows])},
    ]


def by_similarity(paths: Layout, steps: int, manifests: Manifests, truth: Truth) -> list[Row]:
    """Precision, recall and F1 of the noun filter under every similarity and rule.

    An image is right if it shows the queried class (new), or any class of its source image (replay).
    """
    found: dict[tuple[str, str, str], tuple[list[bool], list[bool]]] = {}
    plans_of = {"step": "noun_comparison", "replay": "noun_comparison_replay"}
    for plan, name in plans_of.items():
        for step in range(1, steps + 1) if f"{plan}1" in manifests else ():
            urls = {r["image_id"]: r["url"] for r in manifests[f"{plan}{step}"] if r["status"] == "kept"}
            for row in read_table(paths.selection(step, name), NOUN_COMPARISON):
                known = truth.get(urls[row["image_id"]])
                if known is not None:
                    kept, right = found.setdefault((row["role"], row["similarity"], row["rule"]), ([], []))
                    kept.append(row["kept"])
                    right.append(bool(set(row["class_ids"]) & set(known["class_ids"])))
    titles = {"new": "new classes", "replay": "replay"}
    return [
        {"role": titles[role], "similarity": similarity, "rule": rule, **_scores(*columns)}
        for (role, similarity, rule), columns in found.items()
    ]


def _scores(chosen: Sequence[bool], truth: Sequence[bool]) -> Row:
    hits = sum(c and t for c, t in zip(chosen, truth, strict=True))
    precision = 100 * hits / max(1, sum(chosen))
    recall = 100 * hits / max(1, sum(truth))
    return {
        "base_rate": 100 * sum(truth) / max(1, len(truth)),
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / max(1e-9, precision + recall),
    }


def _style_auroc(metrics: Row, manifest: list[ManifestRow], truth: Truth) -> list[Row]:
    """AUROC on held-out base classes: data set against off-style web, in-domain web against off-style web, raw."""
    from pipeline.metrics.auroc import auroc

    styles = {r["image_id"]: truth[r["url"]]["style"] for r in manifest if r["url"] in truth}
    titles = {
        "fourier": "spectrum, network", "pixel": "pixels, same network (control)",
        "radial_profile": "radial profile, logistic regression",
    }  # fmt: skip
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in titles}
    for part in metrics["held_out"]["scores"]:
        off = np.array([s for image, s in part["web"].items() if styles.get(image, "photo") != "photo"])
        photo = np.array([s for image, s in part["web"].items() if styles.get(image) == "photo"])
        dataset, every = np.array(part["dataset"]), np.array(list(part["web"].values()))
        found[part["features"]].append((auroc(dataset, off), auroc(photo, off), auroc(dataset, every)))
    return [
        {
            "name": titles[name],
            "dataset_off": float(np.mean([v[0] for v in values])),
            "photo_off": float(np.mean([v[1] for v in values])),
            "raw": float(np.mean([v[2] for v in values])),
        }
        for name, values in found.items()
        if values
    ]


def _ceiling(manifest: list[ManifestRow], truth: Truth) -> float:
    """Best possible AUROC of data set against all web images if in-domain web images cannot be told apart."""
    kept = [truth[r["url"]]["style"] for r in manifest if r["status"] == "kept" and r["url"] in truth]
    off = sum(style != "photo" for style in kept) / max(1, len(kept))
    return off + (1 - off) / 2


def _share(rows: Sequence[Row], test: Callable[[Row], bool]) -> float:
    return 100 * sum(map(test, rows)) / max(1, len(rows))
