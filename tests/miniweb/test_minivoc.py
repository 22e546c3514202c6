"""MiniVOC on disk: VOC's layout, deterministic, complete or absent."""

from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.datasets.readers.voc import presence, read_split
from pipeline.miniweb.minivoc import build_minivoc, palette


def test_layout_is_voc_s(minivoc: Path) -> None:
    train, val = read_split(minivoc, "train"), read_split(minivoc, "val")
    assert (len(train), len(val)) == (80, 40)
    assert not {i.image_id for i in train} & {i.image_id for i in val}
    line = (minivoc / "splits" / "train_aug.txt").read_text().split("\n")[0]
    assert line == "/JPEGImages/mini_000000.jpg /SegmentationClassAug/mini_000000.png"
    assert (minivoc / "classes.txt").read_text().split("\n")[15] == "person"
    table = presence(minivoc, "train", train)
    assert table.any(axis=0).all(), "every class occurs"


def test_palette_is_voc_s() -> None:
    colours = palette()
    assert colours[3:6] == [128, 0, 0]
    assert colours[15 * 3 : 15 * 3 + 3] == [192, 128, 128]
    assert colours[255 * 3 :] == [224, 224, 192]


def test_same_seed_same_bytes_and_no_rebuild(tmp_path: Path) -> None:
    for name in ("a", "b"):
        build_minivoc(tmp_path / name, seed=1, n_train=22, n_val=20, workers=1)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*"))
    assert files and all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)
    image = tmp_path / "a" / "JPEGImages" / "mini_000000.jpg"
    before = image.stat().st_mtime_ns
    build_minivoc(tmp_path / "a", seed=1, n_train=22, n_val=20)
    assert image.stat().st_mtime_ns == before
    build_minivoc(tmp_path / "a", seed=2, n_train=22, n_val=20, workers=1)
    assert image.read_bytes() != (tmp_path / "b" / "JPEGImages" / "mini_000000.jpg").read_bytes()


def test_masks_are_palette_images(minivoc: Path) -> None:
    with Image.open(minivoc / "SegmentationClassAug" / "mini_000000.png") as mask:
        assert mask.mode == "P"
        assert set(np.unique(np.asarray(mask))) <= {*range(21), 255}
