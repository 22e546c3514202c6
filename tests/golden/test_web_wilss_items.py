"""Checks W38, W50 and W51 of web_wilss.md: items of the original folders of web, replay and noun files."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.captioning.authors.files import read_nouns, write_nouns
from pipeline.config import Datasets
from pipeline.datasets import DatasetError
from pipeline.datasets.original_layout import class_web_rows, replay_rows
from pipeline.datasets.samples import TrainListDataset
from tests.protocols import VOC

FOLDERS = [
    "airplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "dining_table", "dog",
    "horse", "motor_bike", "person", "potted_plant", "sheep", "sofa", "train", "tv_monitor",
]  # fmt: skip


@pytest.fixture
def web(tmp_path: Path) -> Path:
    """Twenty class folders of three images each."""
    for folder in FOLDERS:
        (tmp_path / "web" / folder).mkdir(parents=True)
        for name in ("b", "a", "c"):
            Image.new("RGB", (40, 30), (90, 120, 60)).save(tmp_path / "web" / folder / f"{name}.jpg")
    return tmp_path / "web"


def samples(rows: list[dict], all_labels: bool = False) -> TrainListDataset:
    """The rows as training samples of 15-5 step 1."""
    protocol = replace(VOC, step=1, order=tuple(range(21)))
    return TrainListDataset(rows, protocol, Datasets(train_size=32), "wilson", seed=0, all_labels=all_labels)


def test_W50_web_items_of_15_5(web: Path) -> None:
    rows = class_web_rows(web, "voc", "15-5", 1)
    assert len(rows) == 15
    assert [(Path(row["image"]).parent.name, row["labels"]) for row in (rows[0], rows[-1])] == [
        ("potted_plant", [16]),
        ("tv_monitor", [20]),
    ]
    assert [Path(row["image"]).stem for row in rows[:3]] == ["a", "b", "c"]
    item = samples(rows)[0]
    assert item["labels"].shape == (20,) and item["labels"].nonzero().flatten().tolist() == [15]
    assert samples(rows)[14]["labels"].nonzero().flatten().tolist() == [19]
    assert set(item["mask"].unique().tolist()) == {255}, "no pixel of a web image is supervised"


def test_W50_web_items_of_coco_to_voc(web: Path) -> None:
    rows = class_web_rows(web, "coco-voc", "voc", 1, per_class=2)
    assert len(rows) == 40
    labels = {Path(row["image"]).parent.name: row["labels"] for row in rows}
    assert labels["airplane"] == [5] and labels["tv_monitor"] == [72]
    assert len({tuple(value) for value in labels.values()}) == 20


def test_W50_folders_and_classes_must_match(web: Path) -> None:
    assert [row["labels"] for row in class_web_rows(web, "voc", "15-1", 3, per_class=1)] == [[18]]
    for folder in FOLDERS[:15]:
        (web / folder).rename(web.parent / folder)
    assert [row["labels"][0] for row in class_web_rows(web, "voc", "15-5", 1, 1)] == [16, 17, 18, 19, 20]
    with pytest.raises(DatasetError, match=r"has 5 class folders for the classes \[11, .*\n?one per new class"):
        class_web_rows(web, "voc", "10-10", 1)
    with pytest.raises(DatasetError, match="has 0 class folders"):
        class_web_rows(web / "nowhere", "voc", "15-5", 1)
    with pytest.raises(DatasetError, match=r"steps 1\.\.1, got step 0"):
        class_web_rows(web, "voc", "15-5", 0)


@pytest.fixture
def replay(tmp_path: Path) -> Path:
    """Two source folders of three images each, whose labels show 0, 3 and 7 in every crop."""
    stripes = np.tile(np.array([0, 3, 7], np.uint8), (30, 14))
    for source in ("2007_000032", "2007_000039"):
        lines = []
        for kind in ("image", "label"):
            (tmp_path / "replay" / source / kind).mkdir(parents=True)
        for name in ("00001", "00002", "00005"):
            image, label = (
                tmp_path / "replay" / source / kind / f"{name}.{end}"
                for kind, end in (("image", "jpg"), ("label", "png"))
            )
            Image.new("RGB", stripes.shape[::-1]).save(image)
            Image.fromarray(stripes).save(label)
            lines.append(f"{image} {label}\n")
        (tmp_path / "replay" / source / "train_fullPath.txt").write_text("".join(lines))
    return tmp_path / "replay"


def test_W51_replay_items(replay: Path) -> None:
    rows = replay_rows(replay, per_source=2)
    assert len(rows) == 4 and [row["image_id"] for row in rows[:2]] == ["00001", "00002"]
    item = samples(rows)[0]
    assert item["labels"].shape == (20,) and item["labels"].nonzero().flatten().tolist() == [2, 6]
    assert set(item["mask"].unique().tolist()) == {0, 3, 7}
    assert torch.equal(item["labels"], samples(rows, all_labels=True)[0]["labels"])
    assert len(replay_rows(replay, per_source=9)) == 6


def test_W51_vector_of_a_crop_without_the_object(replay: Path) -> None:
    rows = replay_rows(replay)
    # One pixel of class 3 in a corner that the crop of this draw leaves out.
    corner = np.zeros((30, 42), np.uint8)
    corner[0, 0] = 3
    Image.fromarray(corner).save(rows[0]["mask"])
    data = samples(rows)
    seen = []
    for epoch in range(12):
        data.set_epoch(epoch)
        item = data[0]
        assert item["labels"][2] == float((item["mask"] == 3).any())
        seen.append(item["labels"][2].item())
    assert 0 in seen


def test_W51_broken_listings_are_named(replay: Path) -> None:
    (replay / "2007_000039" / "train_fullPath.txt").write_text("one two three\n")
    with pytest.raises(DatasetError, match=r"2007_000039/train_fullPath\.txt:1: expected an image and a label path"):
        replay_rows(replay)
    with pytest.raises(DatasetError, match="no folder with a train_fullPath.txt"):
        replay_rows(replay / "2007_000032")


SHIPPED = [
    ("00001.jpg", ["jetliner", "top", "grass", "field"]),
    ("00002.jpg", ["row", "blue", "stripe"]),
    ("00003.jpg", ["plane", "sky", "sunset"]),
]


def test_W38_noun_file_format(tmp_path: Path) -> None:
    path = tmp_path / "2007_000032.txt"
    path.write_text("00001.jpg jetliner top grass field \n00002.jpg row blue stripe \n00003.jpg plane sky sunset \n")
    assert read_nouns(path) == SHIPPED
    write_nouns(tmp_path / "again.txt", SHIPPED)
    assert (tmp_path / "again.txt").read_text() == path.read_text()
    with_empty = [*SHIPPED, ("00004.jpg", [])]
    write_nouns(path, with_empty)
    assert path.read_text().endswith("\n00004.jpg bg\n") and read_nouns(path) == with_empty
    path.write_text("")
    assert read_nouns(path) == []
    path.write_text("00001.jpg a \n00002.jpg\n")
    with pytest.raises(ValueError, match=r"2007_000032\.txt:2: expected '<image file name> <text>'"):
        read_nouns(path)


NOUNS = Path(__file__).parents[2] / "data" / "web_data_cap_file_NN"


@pytest.mark.slow
@pytest.mark.skipif(not NOUNS.exists(), reason="counts of the authors' noun files need data/web_data_cap_file_NN")
def test_W38_authors_noun_files() -> None:
    files = [read_nouns(path) for path in sorted(NOUNS.glob("*.txt"))]
    lines = [nouns for file in files for _, nouns in file]
    assert len(files) == 10_582 and len(lines) == 184_968
    assert sum(not nouns for nouns in lines) == 674
    assert sum(not file for file in files) == 32
    frequency = Counter(noun for nouns in lines for noun in nouns)
    assert frequency.most_common(1) == [("man", 22_161)] and len(frequency) == 1_297
    assert Counter(max(1, len(nouns)) for nouns in lines)[2] == 42_399
