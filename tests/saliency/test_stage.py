"""The stage: what it writes, what it keeps, what it does with broken images."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.artifacts import SALIENCY, Layout, read_provenance, read_table
from pipeline.datasets.images import open_image
from pipeline.datasets.readers.voc import Item
from pipeline.saliency import U2Net, detect_saliency
from pipeline.saliency.__main__ import main


class Brightness:
    """A detector that takes no time: how bright a pixel is. It counts its calls and may give up."""

    def __init__(self, stop_after: int = 1000) -> None:
        self.calls, self.stop_after = 0, stop_after

    def __call__(self, image: Image.Image) -> NDArray[np.uint8]:
        if self.calls == self.stop_after:
            raise KeyboardInterrupt
        self.calls += 1
        return np.asarray(image.convert("L"))


@pytest.fixture
def copies(items: list[Item], tmp_path: Path) -> list[Item]:
    """Six images of which a test may spoil some."""
    return [Item(i.image_id, shutil.copy(i.image, tmp_path), i.mask) for i in items[:6]]


def test_every_image_has_a_map_and_a_row(copies: list[Item], tmp_path: Path) -> None:
    folder, out = tmp_path / "maps", tmp_path / "maps" / "index.parquet"
    detect_saliency(copies, folder, out, detector=Brightness(), threads=3)
    rows = read_table(out, SALIENCY)
    assert [row["image_id"] for row in rows] == [item.image_id for item in copies]
    assert {(row["status"], row["reason"]) for row in rows} == {("kept", "")}
    assert all(row["seconds"] > 0 for row in rows)
    for item in copies:
        stored = Image.open(folder / f"{item.image_id}.png")
        assert stored.mode == "L"
        np.testing.assert_array_equal(np.asarray(stored), Brightness()(open_image(item.image)))
    assert read_provenance(out)["model"] == "u2netp"
    assert {path.suffix for path in folder.iterdir()} == {".png", ".parquet"}


def test_an_interrupted_call_continues_and_a_finished_one_does_nothing(copies: list[Item], tmp_path: Path) -> None:
    folder, out = tmp_path / "maps", tmp_path / "index.parquet"
    with pytest.raises(KeyboardInterrupt):
        detect_saliency(copies, folder, out, detector=Brightness(stop_after=2))
    assert not out.exists()
    rest = Brightness()
    detect_saliency(copies, folder, out, detector=rest)
    first = read_table(out, SALIENCY)
    assert rest.calls == 4 and len(first) == 6
    again = Brightness()
    detect_saliency(copies, folder, out, detector=again)
    assert again.calls == 0 and read_table(out, SALIENCY) == first


def test_a_changed_image_a_damaged_map_and_another_version_are_done_again(
    copies: list[Item], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tmp_path / "maps", tmp_path / "index.parquet"
    detect_saliency(copies, folder, out, detector=Brightness())
    Image.new("RGB", (40, 30), (9, 9, 9)).save(copies[0].image)
    damaged = folder / f"{copies[1].image_id}.png"
    damaged.write_bytes(damaged.read_bytes()[:-40])
    again = Brightness()
    detect_saliency(copies, folder, out, detector=again)
    assert again.calls == 2
    assert (np.asarray(Image.open(folder / f"{copies[0].image_id}.png")) == 9).all()
    monkeypatch.setattr("pipeline.saliency.stage.STAGE_VERSION", 999)
    newer = Brightness()
    detect_saliency(copies, folder, out, detector=newer)
    assert newer.calls == 6


def test_a_broken_image_has_a_reason_and_loses_its_old_map(copies: list[Item], tmp_path: Path) -> None:
    folder, out = tmp_path / "maps", tmp_path / "index.parquet"
    detect_saliency(copies, folder, out, detector=Brightness())
    Path(copies[2].image).write_bytes(b"<html>gone</html>")
    Path(copies[4].image).unlink()
    detect_saliency(copies, folder, out, detector=Brightness())
    rows = read_table(out, SALIENCY)
    assert [row["status"] for row in rows] == ["kept", "kept", "failed", "kept", "failed", "kept"]
    assert copies[2].image in rows[2]["reason"] and "does not exist" in rows[4]["reason"]
    assert [(folder / f"{item.image_id}.png").exists() for item in copies] == [True, True, False, True, False, True]


def test_the_command_makes_the_maps_of_the_split(
    u2net: U2Net, minivoc: Path, items: list[Item], tmp_path: Path
) -> None:
    root = tmp_path / "small"
    (root / "splits").mkdir(parents=True)
    lines = (minivoc / "splits" / "train_aug.txt").read_text().splitlines()[:2]
    (root / "splits" / "train_aug.txt").write_text("\n".join(lines))
    for folder in ("JPEGImages", "SegmentationClassAug"):
        (root / folder).symlink_to(minivoc / folder)
    layout = Layout(dataset_root=str(root))
    index = layout.saliency("index.parquet")
    settings = f'{{"datasets": {{"root": "{root}"}}}}'
    options = ["--settings", settings, "--threads", "2", "--out-dir", layout.saliency(""), "--out", index]
    assert main(["detect", *options]) == 0
    rows = read_table(index, SALIENCY)
    assert [row["status"] for row in rows] == ["kept", "kept"]
    for row, item in zip(rows, items, strict=False):
        stored = np.asarray(Image.open(layout.saliency(f"{row['image_id']}.png")))
        np.testing.assert_array_equal(stored, u2net(open_image(item.image)))


def test_wrong_weights_are_one_line_and_exit_code_2(
    minivoc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "w.onnx").write_bytes(b"x")
    settings = f'{{"datasets": {{"root": "{minivoc}"}}}}'
    options = ["--settings", settings, "--out-dir", str(tmp_path), "--out", str(tmp_path / "index.parquet")]
    assert main(["detect", *options, "--weights", str(tmp_path / "w.onnx")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: weights ") and error.count("\n") == 1
    assert not (tmp_path / "index.parquet").exists()
