"""Precision, recall and F1 of the noun filter under every similarity and rule."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.artifacts import MANIFEST, NOUN_COMPARISON, Layout, write_table
from pipeline.eval.report.filters import by_similarity


def comparison(images: dict[str, tuple[bool, bool]], role: str) -> list[dict[str, Any]]:
    return [
        {"image_id": image, "class_ids": [12, 8], "role": role, "similarity": name, "rule": "paper", "score": 0.5,
         "kept": k}
        for image, kept in images.items()
        for name, k in zip(("embedding", "wordnet"), kept, strict=True)
    ]  # fmt: skip


def test_figures_per_similarity_and_rule(tmp_path: Path) -> None:
    paths = Layout(results=str(tmp_path))
    shown = {"a": [12], "b": [3], "c": [8, 1], "d": [4]}
    kept = {"a": (True, True), "b": (False, True), "c": (True, True), "d": (True, True)}
    truth: dict[str, Any] = {f"http://{image}": {"class_ids": classes} for image, classes in shown.items()}
    row: dict[str, Any] = dict.fromkeys(MANIFEST.names)
    manifest = [row | {"image_id": image, "url": f"http://{image}", "status": "kept"} for image in shown]
    for role, name in (("new", "noun_comparison"), ("replay", "noun_comparison_replay")):
        write_table(paths.selection(1, name), comparison(kept, role), NOUN_COMPARISON)
    found = by_similarity(paths, 1, {"step1": manifest, "replay1": manifest}, truth)
    assert [(r["role"], r["similarity"], r["rule"]) for r in found] == [
        ("new classes", "embedding", "paper"), ("new classes", "wordnet", "paper"),
        ("replay", "embedding", "paper"), ("replay", "wordnet", "paper"),
    ]  # fmt: skip
    assert (found[0]["precision"], found[0]["recall"]) == pytest.approx((200 / 3, 100))
    assert (found[1]["precision"], found[1]["base_rate"]) == pytest.approx((50, 50))
    assert len(by_similarity(paths, 1, {"step1": manifest}, truth)) == 2
