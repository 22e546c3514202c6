"""`explain` and `compare-splits`: what a step contains, and how someone else's lists differ."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import Datasets
from pipeline.datasets import DatasetError
from pipeline.datasets.__main__ import main
from pipeline.datasets.explain import explain
from pipeline.datasets.protocol import write_protocol
from pipeline.datasets.readers.registry import open_dataset
from pipeline.datasets.split_lists import compare_lists, fingerprint, read_list


def test_text_of_15_1_overlap() -> None:
    lines = explain("voc", "15-1")
    assert lines[0] == "voc 15-1 (also 15-5s), overlap, 6 steps"
    block = lines[lines.index("step 2") : lines.index("step 3")]
    assert block == [
        "step 2",
        "  1 classes, channels 17..17: 17 sheep",
        "  training masks: 17 kept; 1-16, 18-20 masked as background; 255 ignored",
        "  evaluation:     1-17 kept; 18-20 masked as background; 255 ignored",
        "  training images: reference 299; give --root to count yours",
        "",
    ]


def test_sequential_keeps_old_classes_and_mib_ignores_future_ones() -> None:
    sequential = explain("voc", "15-5", "sequential")
    assert "  training masks: 1-20 kept; 255 ignored" in sequential
    mib = explain("voc", "15-5", "disjoint", "mib")
    assert "  evaluation:     1-15 kept; 16-20, 255 ignored" in mib
    assert "  training images: reference 8437; give --root to count yours" in mib


def test_counts_beside_the_reference(minivoc: Path) -> None:
    lines = explain("voc", "15-5", root=minivoc)
    reader = open_dataset("voc", minivoc)
    n = reader.select(reader.presence("train", reader.items("train")), "15-5", 0, "overlap").size
    assert f"  training images: yours {n}, reference 9568, DIFFERENT" in lines


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explain", "vok", "15-1"], "unknown data set `vok`; did you mean `voc`"),
        (["explain", "voc", "15-6"], "unknown task `15-6`"),
        (["explain", "voc", "15-1", "--setting", "joint"], "unknown setting `joint`"),
        (["explain", "own", "a-b"], "needs --root"),
    ],
)
def test_mistakes(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.fixture
def lists(minivoc: Path, tmp_path: Path) -> Path:
    """Our own lists of 15-5 overlap as the originals store them."""
    reader = open_dataset("voc", minivoc)
    table = reader.presence("train", reader.items("train"))
    for step in (0, 1):
        np.save(tmp_path / f"train-{step}.npy", reader.select(table, "15-5", step, "overlap"))
    return tmp_path


def test_equal_lists(lists: Path, minivoc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["compare-splits", "voc", "15-5", "--root", str(minivoc), "--theirs", str(lists)]
    assert main(command) == 0
    assert capsys.readouterr().out.count("equal") == 2
    assert main([*command, "--setting", "disjoint"]) == 2


def test_every_difference_is_named(lists: Path, minivoc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours = np.load(lists / "train-1.npy")
    extra = sorted(set(range(80)) - set(ours.tolist()))[:12]
    np.save(lists / "train-1.npy", np.array([*ours[3:], *extra]))
    found = compare_lists(open_dataset("voc", minivoc), "15-5", "overlap", lists)
    assert found[0].equal and not found[1].equal
    assert found[1].only_ours == [f"mini_{i:06d}" for i in ours[:3]]
    assert found[1].only_theirs == [f"mini_{i:06d}" for i in extra]
    command = ["compare-splits", "voc", "15-5", "--root", str(minivoc), "--theirs", str(lists)]
    assert main(command) == 2
    output = capsys.readouterr()
    assert "and 2 more" in output.out and "1 of 2 lists differ (steps 1)" in output.err
    assert main([*command, "--limit", "0"]) == 2
    assert all(f"mini_{i:06d}" in capsys.readouterr().out for i in extra[-1:])


def test_a_missing_list_does_not_hide_the_others(
    lists: Path, minivoc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (lists / "train-0.npy").unlink()
    np.save(lists / "train-1.npy", np.load(lists / "train-1.npy")[1:])
    command = ["compare-splits", "voc", "15-5", "--root", str(minivoc), "--theirs", str(lists)]
    assert main(command) == 2
    output = capsys.readouterr()
    assert "step 0: NOT COMPARED: split list" in output.out and "DIFFERENT" in output.out
    assert "1 of 2 lists differ (steps 1); 1 of 2 lists could not be compared (steps 0)" in output.err


def test_image_labels_of_another_list_are_found(minivoc: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    root = tmp_path / "voc"
    shutil.copytree(minivoc, root)
    reader = open_dataset("voc", root)
    items = reader.items("train")
    table = reader.presence("train", items)
    np.save(root / "voc_1h_labels_train.npy", table.astype(np.float64))
    for step in (0, 1):
        np.save(tmp_path / f"train-{step}.npy", reader.select(table, "15-5", step, "overlap"))
    command = ["compare-splits", "voc", "15-5", "--root", str(root), "--theirs", str(tmp_path)]
    assert main(command) == 0
    listed = root / "splits" / "train_aug.txt"
    lines = listed.read_text().splitlines()
    other = next(i for i in range(1, len(lines)) if (table[i] != table[0]).any())
    lines[0], lines[other] = lines[other], lines[0]
    listed.write_text("\n".join(lines) + "\n")
    capsys.readouterr()
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "voc_1h_labels_train.npy does not belong to the list of train images: 2 of 80 masks" in said
    assert f"first row 0 ({items[other].image_id})" in said


def test_imported_lists_decide_the_training_images(lists: Path, minivoc: Path, tmp_path: Path) -> None:
    np.save(lists / "train-1.npy", np.array([4, 2, 9]))
    settings = Datasets(root=str(minivoc), lists=str(lists))
    protocol = write_protocol(settings, 1, tmp_path / "p.json")
    assert [row.id for row in protocol.train] == ["mini_000002", "mini_000004", "mini_000009"]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([0, 80]), "holds position 80, the data set has 80 images"),
        (np.array([[0, 1]]), r"shape \(1, 2\)"),
        (np.array([0.5]), "float64, expected a list of integers"),
        (np.array([{}], dtype=object), "without running pickled code"),
    ],
)
def test_odd_lists_are_refused(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "train-0.npy", array, allow_pickle=True)
    with pytest.raises(DatasetError, match=message):
        read_list(tmp_path / "train-0.npy", 80)
    with pytest.raises(DatasetError, match="does not exist"):
        read_list(tmp_path / "train-9.npy", 80)


def test_fingerprint_is_the_md5_of_little_endian_positions() -> None:
    import hashlib

    data = (1).to_bytes(8, "little") + (258).to_bytes(8, "little")
    assert fingerprint(np.array([1, 258])) == hashlib.md5(data).hexdigest()[:12]
