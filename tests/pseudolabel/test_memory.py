"""Exemplars and joint training in the training list."""

from pathlib import Path

import pytest
import torch

from pipeline.artifacts import read_json
from pipeline.config import Datasets, parse_config
from pipeline.datasets.protocol import write_protocol
from pipeline.datasets.protocol_file import read_protocol
from pipeline.datasets.samples import TrainListDataset
from pipeline.pseudolabel import write_train_list
from pipeline.pseudolabel.__main__ import main
from pipeline.pseudolabel.listing import Sources


@pytest.fixture(scope="module")
def steps(minivoc: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("steps")
    for step in range(3):
        write_protocol(Datasets(root=str(minivoc), task="10-5-5"), step, folder / f"step{step}.json")
    return [folder / f"step{step}.json" for step in range(3)]


def test_exemplars_come_from_the_step_before_and_its_memory(steps: list[Path], tmp_path: Path) -> None:
    base = write_train_list(steps[0], tmp_path / "0.parquet")
    first = write_train_list(steps[1], tmp_path / "1.parquet", Sources(memory=10, previous=tmp_path / "0.parquet"))
    kept = [row for row in first if row["role"] == "memory"]
    assert 0 < len(kept) <= 10 and {r["image_id"] for r in kept} <= {r["image_id"] for r in base}
    assert {c for row in kept for c in row["labels"]} >= set(range(1, 11)), "ten exemplars show ten classes"
    second = write_train_list(steps[2], tmp_path / "2.parquet", Sources(memory=10, previous=tmp_path / "1.parquet"))
    again = {row["image_id"] for row in second if row["role"] == "memory"}
    assert again <= {row["image_id"] for row in first} and again & {row["image_id"] for row in kept}
    ids = [row["image_id"] for row in second]
    assert len(ids) == len(set(ids)), "an image of the step is no exemplar of it"


def test_joint_training_sees_every_image_once_with_all_labels(steps: list[Path], tmp_path: Path) -> None:
    rows = write_train_list(steps[2], tmp_path / "j.parquet", Sources(earlier=tuple(steps[:2])))
    everything = {row["id"] for path in steps for row in read_json(path)["train"]}
    assert sorted(row["image_id"] for row in rows) == sorted(everything)
    assert {row["role"] for row in rows} == {"joint"}


def test_true_labels_reach_training(steps: list[Path], tmp_path: Path) -> None:
    protocol = read_protocol(steps[1])
    shared = [row for row in protocol.train if {11, 12, 13, 14, 15} & set(row.labels)][:6]
    settings = parse_config({"datasets": {"train_size": 64}}).datasets
    seen = {}
    for role in ("dataset", "memory"):
        rows = [{"image_id": r.id, "role": role, "image": r.image, "mask": r.mask, "labels": r.labels} for r in shared]
        masks = torch.stack([item["mask"] for item in TrainListDataset(rows, protocol, settings, "plop", seed=0)])
        seen[role] = {int(v) for v in masks.unique()}
    assert not seen["dataset"] & set(range(1, 11)), "old classes are background"
    assert seen["memory"] & set(range(1, 11)) and seen["memory"] - {255} <= set(range(16)), "future ones always"


def test_memory_without_the_list_before_is_one_line(
    steps: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "x.parquet"
    assert main(["list", "--protocol", str(steps[1]), "--memory", "5", "--out", str(out)]) == 2
    assert "--memory 5 needs --previous" in capsys.readouterr().err and not out.exists()
