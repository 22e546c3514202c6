"""prepare, explain, splits, two training iterations per step, evaluation: on every data set, by its commands."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pipeline.artifacts import read_json
from pipeline.datasets.__main__ import main as datasets
from pipeline.datasets.readers.registry import open_dataset
from pipeline.eval.__main__ import main as evaluation
from pipeline.pseudolabel.__main__ import main as pseudolabel
from pipeline.train.__main__ import main as train
from tests.datasets import trees

pytestmark = pytest.mark.usefixtures("one_thread")


def coco_voc(root: Path) -> dict[str, np.ndarray]:
    return trees.official_voc(root / "voc") | trees.official_coco(root / "coco")


CASES = {
    "voc": ("15-5", "overlap", trees.official_voc, [16, 5]),
    "coco": ("voc", "overlap", trees.official_coco, [61, 20]),
    "ade": ("100-50", "overlap", trees.ade, [101, 50]),
    "coco-voc": ("voc", "disjoint", coco_voc, [61, 20]),
    "own": ("2-2", "overlap", trees.own, [3, 2]),
}


def run(main, *arguments: object) -> None:  # type: ignore[no-untyped-def]
    assert main([str(a) for a in arguments]) == 0


def lists(name: str, root: Path, masks: dict[str, np.ndarray], steps: Sequence[Sequence[int]], folder: Path) -> None:
    """Write train-<step>.npy from the masks that the tree was made of, in the order of the data set's images."""
    reader = open_dataset(name, root)
    for step, classes in enumerate(steps):
        shown = [set(np.unique(masks[item.image_id])) - {0, 255} for item in reader.items(reader.train_split(step))]
        if name == "coco-voc":  # COCO images without VOC's classes, then every image of VOC (web_wilss.md 2.4)
            chosen = [i for i, ids in enumerate(shown) if step or not ids & set(steps[1])]
        else:
            chosen = [i for i, ids in enumerate(shown) if ids & set(classes)]
        np.save(folder / f"train-{step}.npy", np.array(chosen))


@pytest.mark.parametrize("name", CASES)
def test_chain(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task, setting, build, sizes = CASES[name]
    root = tmp_path / "data"
    masks = build(root)
    if name == "own":
        run(datasets, "init", root)
    else:
        run(datasets, "prepare", name, "--root", root, "--subset")
    chosen = [name, task, "--setting", setting, "--root", root]
    capsys.readouterr()
    run(datasets, "explain", *chosen)
    explained = capsys.readouterr().out
    phase = {"epochs": 2, "iterations": 2, "batch_size": 2}
    settings = json.dumps(
        {
            "datasets": {"name": name, "root": str(root), "task": task, "setting": setting, "train_size": 48,
                         "eval_size": 48},
            "train": {"base": phase, "step": phase, "threads": 1, "tensorboard": False},
            "eval": {"overlays": 1},
        }
    )  # fmt: skip
    protocols = [tmp_path / f"protocol{step}.json" for step in (0, 1)]
    for step, path in enumerate(protocols):
        run(datasets, "protocol", "--step", step, "--out", path, "--settings", settings)
        assert f"training images: yours {len(read_json(path)['train'])}, " in explained.split(f"step {step}\n")[1]
    lists(name, root, masks, read_json(protocols[0])["classes_per_step"], tmp_path)
    run(datasets, "compare-splits", *chosen, "--theirs", tmp_path)
    previous: list[object] = []
    earlier: list[object] = []
    for step, protocol in enumerate(protocols):
        out = tmp_path / f"step{step}"
        run(pseudolabel, "list", "--protocol", protocol, "--out", out / "list.parquet")
        what = ["step", "--method", "ft", *previous] if step else ["base", "--recipe", "ce"]
        common = ["--seed", 0, "--protocol", protocol, "--train-list", out / "list.parquet", "--settings", settings]
        run(train, *what, *common, "--out", out)
        with (out / "log.csv").open(newline="") as file:
            assert {int(row["iteration"]) for row in csv.DictReader(file)} == {0, 1}
        model = out / "model.safetensors"
        common = ["--model", model, "--protocol", protocol, "--settings", settings, "--out", out]
        run(evaluation, "evaluate", *common, *earlier)
        previous = ["--previous", model, "--previous-state", out / "method_state.safetensors"]
        earlier = ["--previous", out / "eval.json"]
        result = read_json(out / "eval.json")
        assert len(result["iou"]) == sum(sizes[: step + 1])
        assert result["images"] == len(read_json(protocol)["val"])
        assert result["dataset"] == read_json(protocol)["dataset"]
        assert np.load(out / "confusion.npy").sum() > 0
    assert list(result["forgetting"]), "the second evaluation looks back at the first"
    assert set(result["other_sets"]) == ({"val_voc"} if name == "coco-voc" else set())
