"""Reading data in VOC's layout, and one clear line for everything wrong with it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.artifacts import read_json
from pipeline.config import Datasets
from pipeline.datasets import DatasetError
from pipeline.datasets.__main__ import main
from pipeline.datasets.images import open_image, open_mask, read_bytes
from pipeline.datasets.protocol import write_protocol
from pipeline.datasets.readers.voc import presence, read_split


@pytest.fixture
def copy(minivoc: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(minivoc, tmp_path / "voc"))


def test_protocol_lists_the_step_s_images(protocols: list[Path]) -> None:
    base, step = (read_json(path) for path in protocols)
    assert base["order"] == list(range(16)) and step["order"] == list(range(21))
    assert all(set(row["labels"]) & set(range(1, 16)) for row in base["train"])
    assert all(set(row["labels"]) & set(range(16, 21)) for row in step["train"])
    assert len(base["val"]) == len(step["val"]) == 40
    assert base["class_names"]["15"] == "person"


def test_missing_final_newline_loses_nothing(copy: Path) -> None:
    path = copy / "splits" / "val.txt"
    path.write_text(path.read_text().rstrip("\n"))
    assert read_split(copy, "val")[-1].mask.endswith(".png")


def test_presence_is_cached_and_follows_the_masks(copy: Path) -> None:
    items = read_split(copy, "val")
    before = presence(copy, "val", items)
    assert list((copy / "splits").glob(".presence_val_*.npy"))
    Image.fromarray(np.full((20, 20), 7, np.uint8)).save(items[0].mask)
    after = presence(copy, "val", items)
    assert after[0].tolist() == [c == 7 for c in range(1, 21)] and (after[1:] == before[1:]).all()


def test_shipped_one_hot_file_is_used_and_checked(copy: Path) -> None:
    items = read_split(copy, "val")
    table = np.zeros((40, 20))
    table[:, 3] = 1
    np.save(copy / "voc_1h_labels_val.npy", table)
    assert presence(copy, "val", items)[:, 3].all()
    np.save(copy / "voc_1h_labels_val.npy", table[:5])
    with pytest.raises(DatasetError, match=r"has shape \(5, 20\), expected \(40, 20\)"):
        presence(copy, "val", items)


def corrupt_mask(root: Path) -> None:
    next((root / "SegmentationClassAug").glob("*.png")).write_bytes(b"\x89PNG broken")


def wrong_value(root: Path) -> None:
    Image.fromarray(np.full((9, 9), 77, np.uint8)).save(root / "SegmentationClassAug" / "mini_000000.png")


def colour_mask(root: Path) -> None:
    Image.new("RGB", (9, 9)).save(root / "SegmentationClassAug" / "mini_000000.png")


def no_split(root: Path) -> None:
    (root / "splits" / "train_aug.txt").unlink()


def unknown_id(root: Path) -> None:
    with (root / "splits" / "train_aug.txt").open("a") as file:
        file.write("/JPEGImages/ghost.jpg /SegmentationClassAug/ghost.png\n")


def odd_line(root: Path) -> None:
    with (root / "splits" / "train_aug.txt").open("a") as file:
        file.write("only_one_field\n")


def no_mask(root: Path) -> None:
    (root / "SegmentationClassAug" / "mini_000001.png").unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (corrupt_mask, r"mask \S+\.png cannot be decoded"),
        (wrong_value, r"mini_000000\.png holds value 77, expected 0..20 or 255"),
        (colour_mask, "has mode RGB, expected a palette or grey PNG"),
        (no_split, r"split file \S+train_aug\.txt does not exist"),
        (unknown_id, r"lists \S+ghost\.jpg, which is not in the data set"),
        (odd_line, r"train_aug\.txt:81: expected an image and a mask path"),
        (no_mask, r"mask \S+mini_000001\.png of image mini_000001 does not exist"),
    ],
)
def test_damage_is_one_clear_line_and_nothing_is_written(
    copy: Path, tmp_path: Path, damage, message: str, capsys: pytest.CaptureFixture
) -> None:  # type: ignore[no-untyped-def]
    damage(copy)
    out = tmp_path / "protocol.json"
    with pytest.raises(DatasetError, match=message):
        write_protocol(Datasets(root=str(copy)), 0, out)
    settings = f'{{"datasets": {{"root": "{copy}"}}}}'
    assert main(["protocol", "--step", "0", "--out", str(out), "--settings", settings]) == 2
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("error: ")
    assert not out.exists()


def test_images_by_reference(tmp_path: Path, minivoc: Path) -> None:
    import tarfile

    source = minivoc / "JPEGImages" / "mini_000000.jpg"
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        tar.add(source, "x.jpg")
    assert read_bytes(f"{tmp_path}/s.tar::x.jpg") == source.read_bytes()
    assert open_image(f"{tmp_path}/s.tar::x.jpg").tobytes() == open_image(str(source)).tobytes()
    for uri, message in ((f"{tmp_path}/s.tar::y.jpg", "no member y.jpg"), ("nowhere.jpg", "does not exist")):
        with pytest.raises(DatasetError, match=message):
            open_image(uri)
    (tmp_path / "cut.jpg").write_bytes(source.read_bytes()[:900])
    with pytest.raises(DatasetError, match="cannot be decoded"):
        open_image(str(tmp_path / "cut.jpg"))
    with pytest.raises(DatasetError, match="does not exist"):
        open_mask("nowhere.png")
