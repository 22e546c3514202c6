"""prepare, explain, splits, two training iterations per step, evaluation: on every data set."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.artifacts import read_json
from pipeline.datasets.__main__ import main as datasets
from pipeline.datasets.readers import open_dataset
from pipeline.eval.__main__ import main as evaluation
from pipeline.pseudolabel.__main__ import main as pseudolabel
from pipeline.train.__main__ import main as train
from tests.datasets import trees

pytestmark = pytest.mark.usefixtures("one_thread")


def coco_voc(root: Path) -> None:
    trees.official_voc(root / "voc")
    trees.official_coco(root / "coco")


CASES = {
    "voc": ("15-5", "overlap", trees.official_voc, [16, 5]),
    "ade": ("100-50", "partition", trees.ade, [101, 50]),
    "coco-voc": ("voc", "disjoint", coco_voc, [61, 20]),
    "own": ("2-2", "overlap", trees.own, [3, 2]),
}


def run(main, *arguments: object) -> None:  # type: ignore[no-untyped-def]
    assert main([str(a) for a in arguments]) == 0


@pytest.mark.parametrize("name", CASES)
def test_chain(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task, setting, build, sizes = CASES[name]
    root = tmp_path / "data"
    build(root)
    if name == "own":
        run(datasets, "init", root)
    else:
        run(datasets, "prepare", name.replace("-", "_"), "--root", root, "--subset")
    run(datasets, "explain", name, task, "--setting", setting, "--root", root)
    assert capsys.readouterr().out.count("training images: yours ") == 2
    reader = open_dataset(name, root)
    for step in (0, 1):
        split = reader.train_split(step)
        chosen = reader.select(reader.presence(split, reader.items(split)), task, step, setting)
        np.save(tmp_path / f"train-{step}.npy", chosen)
    run(datasets, "compare-splits", name, task, "--setting", setting, "--root", root, "--theirs", tmp_path)
    phase = {"epochs": 2, "iterations": 2, "batch_size": 2}
    settings = json.dumps(
        {
            "datasets": {"name": name, "root": str(root), "task": task, "setting": setting, "train_size": 48,
                         "eval_size": 48},
            "train": {"base": phase, "step": phase, "threads": 1, "tensorboard": False},
            "eval": {"overlays": 1},
        }
    )  # fmt: skip
    previous: list[object] = []
    for step in (0, 1):
        out, protocol = tmp_path / f"step{step}", tmp_path / f"protocol{step}.json"
        run(datasets, "protocol", "--step", step, "--out", protocol, "--settings", settings)
        run(pseudolabel, "list", "--protocol", protocol, "--out", out / "list.parquet")
        what = ["step", "--method", "ft", *previous] if step else ["base", "--recipe", "ce"]
        common = ["--seed", 0, "--protocol", protocol, "--train-list", out / "list.parquet", "--settings", settings]
        run(train, *what, *common, "--out", out)
        model = out / "model.safetensors"
        run(evaluation, "evaluate", "--model", model, "--protocol", protocol, "--settings", settings, "--out", out)
        previous = ["--previous", model, "--previous-state", out / "method_state.safetensors"]
        result = read_json(out / "eval.json")
        assert len(result["iou"]) == sum(sizes[: step + 1]) and result["images"] == len(reader.items("val"))
        assert result["dataset"] == reader.key
