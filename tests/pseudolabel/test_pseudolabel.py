"""Replay selection, pseudo-labels by a real small model, and training lists."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.artifacts import MANIFEST, NEW_CLASSES, NOUN_FILTER, PSEUDOLABELS, REPLAY, read_table, write_table
from pipeline.config import PseudoLabel
from pipeline.models import build_model, save_model
from pipeline.pseudolabel import pseudolabel, select_replay, write_train_list
from pipeline.pseudolabel.listing import Sources


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    """Twelve candidates of four queries (classes 1..4), every third rejected by the noun filter."""
    manifest, nouns = [], []
    for i in range(12):
        query = i // 3
        row: dict[str, Any] = {name: "" for name in MANIFEST.names}
        row |= {
            "image_id": f"im{i:02d}",
            "rank": i % 3,
            "status": "kept",
            "query_id": f"q{query}",
            "class_ids": [query + 1],
        }
        manifest.append(row | {"http_status": 200, "width": 1, "height": 1, "bytes": 1, "shard": "replay1-00000"})
        noun: dict[str, Any] = {name: "" for name in NOUN_FILTER.names}
        noun |= {"image_id": f"im{i:02d}", "query_id": f"q{query}", "class_id": -1, "nouns": [], "labels": []}
        rejected = {"kept": False, "reason": "below_threshold"} if i % 3 == 2 else {"kept": True}
        nouns.append(noun | {"score": 0.7, "threshold": 0.6} | rejected)
    write_table(tmp_path / "manifest.parquet", manifest, MANIFEST)
    write_table(tmp_path / "nouns.parquet", nouns, NOUN_FILTER)
    return tmp_path


def chosen(folder: Path, **settings: int) -> dict[str, str]:
    out = folder / "replay.parquet"
    select_replay(folder / "nouns.parquet", folder / "manifest.parquet", folder, PseudoLabel(**settings), out)
    return {row["image_id"]: row["reason"] for row in read_table(out, REPLAY)}


def test_budgets_are_dealt_over_the_classes(judged: Path) -> None:
    reasons = chosen(judged, per_query=2, replay_budget=6)
    assert len(reasons) == 12, "a row for every candidate"
    kept = [i for i, reason in reasons.items() if not reason]
    assert kept == ["im00", "im01", "im03", "im04", "im06", "im09"]
    assert reasons["im02"] == "below_threshold" and reasons["im07"] == "over_budget"
    assert chosen(judged, per_query=1, replay_budget=99)["im01"] == "over_query_budget"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "model.safetensors"
    save_model(path, build_model("small_cnn", [16]), {"dataset": "minivoc"})
    return path


def test_labels_have_the_image_s_size_and_the_model_s_channels(
    minivoc: Path, model: Path, tmp_path: Path, one_thread: None
) -> None:
    images = sorted((minivoc / "JPEGImages").glob("*.jpg"))[:7]
    rows = [
        {"image_id": p.stem, "query_id": "q", "source_image_id": "s", "class_ids": [1], "image": str(p), "score": 1.0,
         "threshold": 0.6, "kept": i != 3, "reason": "" if i != 3 else "over_budget"}
        for i, p in enumerate(images)
    ]  # fmt: skip
    write_table(tmp_path / "replay.parquet", rows, REPLAY)
    for name in ("a", "b"):
        folder, table = tmp_path / name, tmp_path / f"{name}.parquet"
        pseudolabel(model, tmp_path / "replay.parquet", PseudoLabel(batch_size=2), folder, table)
    assert {p.name for p in (tmp_path / "a").iterdir()} == {f"{r['image_id']}.png" for r in rows if r["kept"]}
    for row in read_table(tmp_path / "a.parquet", PSEUDOLABELS):
        label = np.asarray(Image.open(row["label"]))
        assert label.shape == Image.open(row["image"]).size[::-1] and label.max() < 16
        assert row["class_ids"] == [int(v) for v in np.unique(label) if v] and 0 < row["confidence"] <= 1
        assert (tmp_path / "b" / Path(row["label"]).name).read_bytes() == Path(row["label"]).read_bytes()


def web_tables(folder: Path) -> tuple[Path, Path]:
    rows = []
    for image, class_id, filters, kept in [
        ("w1", 16, "both", True), ("w1", 17, "both", True), ("w2", 16, "both", False), ("w3", 18, "none", True),
    ]:  # fmt: skip
        row: dict[str, Any] = {"image_id": image, "class_id": class_id, "filters": filters, "labels": [class_id]}
        row |= {"image": f"s.tar::{image}.jpg", "rank": 0, "noun_score": 1.0, "fourier_score": 1.0, "kept": kept}
        rows.append(row | {"reason": ""})
    write_table(folder / "new.parquet", rows, NEW_CLASSES)
    labels = [
        {"image_id": i, "image": "r.jpg", "label": "r.png", "class_ids": [3], "confidence": 0.5, "reason": ""}
        for i in ("r1", "w1")
    ]
    write_table(folder / "labels.parquet", labels, PSEUDOLABELS)
    return folder / "new.parquet", folder / "labels.parquet"


def test_list_of_a_base_step_is_the_protocol(protocols: list[Path], tmp_path: Path) -> None:
    rows = write_train_list(protocols[0], tmp_path / "l.parquet")
    train = json.loads(protocols[0].read_text())["train"]
    assert [r["image_id"] for r in rows] == [t["id"] for t in train]
    assert all(r["role"] == "dataset" and r["mask"] for r in rows)


def test_list_of_web_images_merges_labels_and_adds_replay(protocols: list[Path], tmp_path: Path) -> None:
    selection, labels = web_tables(tmp_path)
    rows = write_train_list(protocols[1], tmp_path / "l.parquet", Sources(selection, "both", labels))
    assert [(r["image_id"], r["role"], r["labels"]) for r in rows] == [("w1", "web", [16, 17]), ("r1", "replay", [3])]
    assert rows[0]["mask"] == "" and rows[1]["mask"] == "r.png"
    loose = write_train_list(protocols[1], tmp_path / "m.parquet", Sources(selection, "none"))
    assert [r["image_id"] for r in loose] == ["w3"]


def test_empty_and_leaking_lists_are_refused(protocols: list[Path], tmp_path: Path) -> None:
    selection, _ = web_tables(tmp_path)
    with pytest.raises(ValueError, match="no image is left for step 1 with filters `noun`"):
        write_train_list(protocols[1], tmp_path / "l.parquet", Sources(selection, "noun"))
    facts = json.loads(protocols[0].read_text())
    facts["train"].append({**facts["val"][0]})
    (tmp_path / "bad.json").write_text(json.dumps(facts))
    with pytest.raises(ValueError, match="1 evaluation images are in the training list, first mini_500000"):
        write_train_list(tmp_path / "bad.json", tmp_path / "l.parquet")
    assert not (tmp_path / "l.parquet").exists()
