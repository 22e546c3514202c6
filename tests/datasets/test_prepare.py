"""`prepare` on small roots in the layouts of the official archives."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.artifacts import read_json
from pipeline.datasets import DatasetError
from pipeline.datasets.__main__ import main
from pipeline.datasets.images import open_mask
from pipeline.datasets.prepare.preparation import Options, prepare
from pipeline.datasets.readers.coco import Coco, CocoVoc
from pipeline.datasets.readers.voc import Voc
from pipeline.datasets.tasks.tables import VOC_TO_COCO
from tests.datasets import trees

SUBSET = Options(subset=True)


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    trees.official_voc(tmp_path / "voc")
    return tmp_path / "voc"


def test_voc_masks_come_from_sbd_and_voc_and_train_excludes_val(tmp_path: Path) -> None:
    masks = trees.official_voc(tmp_path / "voc")
    report = prepare("voc", tmp_path / "voc", SUBSET)
    reader = Voc(tmp_path / "voc")
    train, val = reader.items("train"), reader.items("val")
    assert len(train) == 56 and len(val) == 21, "5 of SBD's images are in VOC's val and must not be trained on"
    assert not {i.image_id for i in train} & {i.image_id for i in val}
    assert [i.image_id for i in train] == sorted(i.image_id for i in train)
    for item in train + val:
        assert (open_mask(item.mask, 20) == masks[item.image_id]).all()
    table = np.load(tmp_path / "voc" / "voc_1h_labels_train.npy")
    expected = [[c in masks[i.image_id] for c in range(1, 21)] for i in train]
    assert (table.astype(bool) == np.array(expected)).all() and table.dtype == np.float64
    assert any("derived SegmentationClassAug/: 77 masks" in line for line in report.lines)


def test_a_second_prepare_derives_nothing_and_agrees(voc: Path) -> None:
    prepare("voc", voc, SUBSET)
    report = prepare("voc", voc, SUBSET)
    assert not any("derived" in line for line in report.lines)
    assert "voc_1h_labels_val.npy agrees with the masks" in report.lines
    assert "checksums.sha256: 154 files as recorded, 0 not recorded" in report.lines
    histogram = read_json(voc / "prepared.json")["histogram"]["voc train"]
    assert histogram["void"]["images"] == 10 and histogram["aeroplane"]["images"] > 0


def test_counts_of_a_partial_download_stop_it(voc: Path) -> None:
    with pytest.raises(DatasetError, match=r"train: images: 56, expected 10582"):
        prepare("voc", voc, Options())
    assert not (voc / "classes.txt").exists()
    assert read_json(voc / "prepared.json")["problems"]


def no_images(root: Path) -> None:
    (root / "JPEGImages").rename(root / "Elsewhere")


def no_sbd(root: Path) -> None:
    (root / "benchmark_RELEASE").rename(root / "Elsewhere")


def no_lists(root: Path) -> None:
    (root / "ImageSets" / "Segmentation" / "val.txt").unlink()


def lacking_mat(root: Path) -> None:
    (root / "benchmark_RELEASE" / "dataset" / "cls" / "2008_000000.mat").unlink()


def no_mat(root: Path) -> None:
    (root / "benchmark_RELEASE" / "dataset" / "cls" / "2008_000000.mat").write_bytes(b"not a mat file" * 20)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_images, r"JPEGImages is missing\. Download VOCtrainval_11-May-2012\.tar .*host\.robots\.ox\.ac\.uk"),
        (no_sbd, r"dataset is missing\. Download benchmark\.tgz .*home\.bharathh\.info.*--sbd"),
        (no_lists, r"val\.txt is missing\. Download VOCtrainval"),
        (lacking_mat, r"2008_000000\.mat does not exist; SBD's archive is incomplete"),
        (no_mat, r"2008_000000\.mat is not an SBD mask"),
    ],
)
def test_a_missing_file_is_named_with_its_official_page(voc: Path, damage, message: str) -> None:  # type: ignore[no-untyped-def]
    damage(voc)
    with pytest.raises(DatasetError, match=message):
        prepare("voc", voc, SUBSET)
    assert not (voc / "classes.txt").exists()


def test_every_unreadable_file_is_listed_at_once(voc: Path) -> None:
    prepare("voc", voc, SUBSET)
    first, second, third, fourth = Voc(voc).items("train")[:4]
    Path(first.image).write_bytes(Path(first.image).read_bytes()[:300])
    Image.fromarray(np.full((32, 40), 99, np.uint8)).save(second.mask)
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(third.mask)
    Path(fourth.mask).unlink()
    (voc / "classes.txt").unlink()
    with pytest.raises(DatasetError) as caught:
        prepare("voc", voc, SUBSET)
    text = str(caught.value)
    for expected in ("cannot be decoded", "holds value 99", "its mask (5, 5)"):
        assert expected in text
    assert "3 problems" in text, "the lost mask is derived again"


def test_changed_and_lost_files_are_found_by_checksum(voc: Path) -> None:
    prepare("voc", voc, SUBSET)
    item = Voc(voc).items("val")[0]
    mask = open_mask(item.mask, 20).copy()
    mask[5, 0] = mask[5, 3]
    Image.fromarray(mask).save(item.mask)
    with pytest.raises(DatasetError, match=rf"{item.image_id}\.png has another SHA-256"):
        prepare("voc", voc, SUBSET)


def test_wrong_one_hot_table_is_found(voc: Path) -> None:
    prepare("voc", voc, SUBSET)
    path = voc / "voc_1h_labels_train.npy"
    table = np.load(path)
    table[7, 3] = 1 - table[7, 3]
    np.save(path, table)
    with pytest.raises(DatasetError, match="differs from the masks in 1 rows, first row 7"):
        prepare("voc", voc, SUBSET)


def test_ade(tmp_path: Path) -> None:
    trees.ade(tmp_path / "ade")
    report = prepare("ade", tmp_path / "ade", SUBSET)
    assert "train: images of class 0 alone: 1, the whole data set has 14" in report.lines
    assert np.load(tmp_path / "ade" / "ade_1h_labels_train.npy").shape == (160, 150)
    assert (tmp_path / "ade" / "classes.txt").read_text().split("\n")[150] == "flag"
    (tmp_path / "ade" / "annotations" / "validation").rename(tmp_path / "ade" / "gone")
    with pytest.raises(DatasetError, match=r"ADEChallengeData2016\.zip .*sceneparsing\.csail\.mit\.edu"):
        prepare("ade", tmp_path / "ade", SUBSET)


def test_coco_masks_are_things_shifted_by_one_and_stuff_dropped(tmp_path: Path) -> None:
    masks = trees.official_coco(tmp_path / "coco")
    prepare("coco", tmp_path / "coco", SUBSET)
    reader = Coco(tmp_path / "coco")
    for split in ("train", "val"):
        items = reader.items(split)
        assert [i.image_id for i in items] == (tmp_path / "coco" / "split" / f"{split}.txt").read_text().split()
        for item in items:
            assert (open_mask(item.mask, 90) == masks[item.image_id]).all()
    assert np.load(tmp_path / "coco" / "1h_labels_val.npy").shape == (12, 91)


def test_coco_without_split_files_says_what_that_costs(tmp_path: Path) -> None:
    trees.official_coco(tmp_path / "coco", split_files=False)
    report = prepare("coco", tmp_path / "coco", SUBSET)
    assert any("the originals' index lists do not apply" in line for line in report.lines)
    names = [item.image_id for item in Coco(tmp_path / "coco").items("train")]
    assert names == sorted(names)


def test_unmapped_coco_masks_are_recognised(tmp_path: Path) -> None:
    trees.official_coco(tmp_path / "coco")
    (tmp_path / "coco" / "stuffthingmaps").rename(tmp_path / "coco" / "annotations")
    with pytest.raises(DatasetError) as caught:
        prepare("coco", tmp_path / "coco", SUBSET)
    assert "holds value 120" in str(caught.value)
    assert "unmapped COCO-Stuff masks" in read_json(tmp_path / "coco" / "prepared.json")["problems"][-1]


def test_coco_voc(tmp_path: Path) -> None:
    masks = trees.official_voc(tmp_path / "voc")
    trees.official_coco(tmp_path / "coco")
    prepare("coco-voc", tmp_path, SUBSET)
    reader = CocoVoc(tmp_path)
    for split in ("train_voc", "val_voc"):
        items = reader.items(split)
        for item in items:
            own, mapped = masks[item.image_id], open_mask(item.mask, 91)
            assert all((mapped[own == v] == c).all() for v, c in {**VOC_TO_COCO, 0: 0, 255: 255}.items())
        shown = reader.presence(split, items)
        shipped = np.load(tmp_path / "voc" / f"cocovoc_1h_labels_{split[:-4]}.npy")
        assert (shipped.astype(bool) == shown).all()
        assert [set(np.unique(masks[i.image_id])) - {0, 255} for i in items] == [
            {v for v, c in VOC_TO_COCO.items() if row[c - 1]} for row in shown
        ]
    items = reader.items("train")
    base = reader.select(reader.presence("train", items), "voc", 0, "disjoint")
    assert len(base) == 30 and all(i % 3 == 0 for i in base)


def test_command(voc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "voc", "--root", str(voc), "--subset"]) == 0
    assert "tvmonitor" in capsys.readouterr().out
    assert main(["prepare", "voc", "--root", str(voc)]) == 2
    assert "error: " in capsys.readouterr().err
    assert main(["prepare", "minivoc", "--root", str(voc)]) == 2
    assert "needs no preparation" in capsys.readouterr().err
    assert json.loads((voc / "prepared.json").read_text())["dataset"] == "voc"
