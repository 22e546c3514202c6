"""The engine: exact resume, determinism, divergence, and checkpoints of another task."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pipeline.artifacts import TRAIN_LIST, ArtifactError, write_table
from pipeline.config import Config, parse_config
from pipeline.models import load_model, read_about
from pipeline.pseudolabel import write_train_list
from pipeline.train import engine
from pipeline.train.assemble import Previous, assemble_base, assemble_step
from pipeline.train.engine import DivergedError, train_step


def config(**train: Any) -> Config:
    phase = {"epochs": 8, "iterations": 8, "batch_size": 4}
    values = {"threads": 1, "tensorboard": False, "checkpoint_every": 3, "base": phase, "step": phase, **train}
    return parse_config({"train": values, "datasets": {"train_size": 48, "eval_size": 48}})


@pytest.fixture(scope="module")
def lists(protocols: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Training lists: base, dataset step, and web images with replay (made of data set images)."""
    folder = tmp_path_factory.mktemp("lists")
    paths = {name: folder / f"{name}.parquet" for name in ("base", "dataset", "web")}
    base = write_train_list(protocols[0], paths["base"])
    step = write_train_list(protocols[1], paths["dataset"])
    web = [{**row, "role": "web", "mask": ""} for row in step[:12]]
    taken = {row["image_id"] for row in web}
    replay = [{**row, "role": "replay"} for row in base if row["image_id"] not in taken][:10]
    from PIL import Image

    for row in replay:
        mask = Image.open(row["mask"]).point(lambda v: v if v < 16 else 0)
        row["mask"] = str(folder / f"{row['image_id']}.png")
        mask.save(row["mask"])
    write_table(paths["web"], web + replay, TRAIN_LIST)
    return paths


@pytest.fixture(scope="module")
def bases(lists: dict[str, Path], protocols: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    for recipe in ("ce", "bce"):
        train_step(assemble_base(config(), recipe, 0, protocols[0], lists["base"], folder / recipe))
    return {recipe: folder / recipe for recipe in ("ce", "bce")}


def step_of(
    method: str, folder: Path, lists: dict[str, Path], bases: dict[str, Path], protocols: list[Path], **train: Any
):  # type: ignore[no-untyped-def]
    from pipeline.methods import get

    cls = get(method)
    which = lists["dataset" if cls.supervision == "pixel" else "web"]
    base = bases[cls.recipe]
    previous = Previous(base / "model.safetensors", base / "method_state.safetensors")
    return assemble_step(config(**train), method, 0, protocols[1], which, previous, folder)


def test_outputs_of_a_base_step(bases: dict[str, Path]) -> None:
    folder = bases["bce"]
    assert {p.name for p in folder.iterdir()} == {
        "model.safetensors", "method_state.safetensors", "config.yaml", "log.csv", "cost.json",
    }  # fmt: skip
    assert read_about(folder / "model.safetensors")["classes_per_step"] == [16]
    cost = json.loads((folder / "cost.json").read_text())
    assert cost["items"] == 32 and cost["wall_seconds"] > 0 and cost["peak_memory_mb"] > 50


class Killed(BaseException):
    """Stands for a kill between two iterations."""


def test_other_settings_start_afresh(
    lists: dict, bases: dict, protocols: list[Path], tmp_path: Path, monkeypatch: Any
) -> None:
    real = engine._iterate
    monkeypatch.setattr(engine, "_iterate", lambda *a: (_ for _ in ()).throw(Killed) if a[4] == 4 else real(*a))
    with pytest.raises(Killed):
        train_step(step_of("ft", tmp_path / "a", lists, bases, protocols))
    monkeypatch.setattr(engine, "_iterate", real)
    started: list[int] = []
    monkeypatch.setattr(engine, "_iterate", lambda *a: started.append(a[4]) or real(*a))
    train_step(step_of("ft", tmp_path / "a", lists, bases, protocols, momentum=0.5))
    assert started[0] == 0


def test_non_finite_loss_stops_with_images_and_state(
    lists: dict, bases: dict, protocols: list[Path], tmp_path: Path
) -> None:
    step = step_of("ft", tmp_path, lists, bases, protocols)
    with torch.no_grad():
        step.model.classifiers[1].bias.fill_(float("nan"))
    with pytest.raises(DivergedError, match=r"not finite at iteration 0 of \S+ \(ce nan\)"):
        train_step(step)
    text = (tmp_path / "diverged.txt").read_text()
    assert text.count("mini_") == 4 and (tmp_path / "diverged.safetensors").exists()
    assert not (tmp_path / "model.safetensors").exists()


def test_checkpoint_of_another_task_is_one_clear_line(
    lists: dict, bases: dict, protocols: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    from pipeline.train.__main__ import main

    facts = json.loads(protocols[1].read_text())
    (tmp_path / "other.json").write_text(json.dumps({**facts, "task": "10-10"}))
    arguments = ["step", "--method", "ft", "--seed", "0", "--protocol", str(tmp_path / "other.json")]
    arguments += ["--train-list", str(lists["dataset"]), "--previous", str(bases["ce"] / "model.safetensors")]
    arguments += ["--out", str(tmp_path / "o")]
    assert main(arguments) == 2
    assert "has task '15-5', this run needs '10-10'" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_wrong_files_are_refused(lists: dict, bases: dict, protocols: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="describes step 1, this command trains step 0"):
        assemble_base(config(), "ce", 0, protocols[1], lists["base"], tmp_path)
    with pytest.raises(ValueError, match="unknown base recipe `bcee`; did you mean `bce`"):
        assemble_base(config(), "bcee", 0, protocols[0], lists["base"], tmp_path)
    with pytest.raises(ValueError, match="unknown backbone `small_cn`; did you mean `small_cnn`"):
        assemble_base(config(backbone="small_cn"), "ce", 0, protocols[0], lists["base"], tmp_path)
    shutil.copy(lists["base"], tmp_path / "model.safetensors")
    with pytest.raises(ArtifactError, match="not a readable safetensors file"):
        assemble_step(
            config(), "ft", 0, protocols[1], lists["dataset"], Previous(tmp_path / "model.safetensors"), tmp_path
        )
    with pytest.raises(ValueError, match="has 5 images of this step, a batch needs 64"):
        rows = write_train_list(protocols[0], tmp_path / "l.parquet")[:5]
        write_table(tmp_path / "short.parquet", rows, TRAIN_LIST)
        phase = {"epochs": 1, "batch_size": 64}
        assemble_base(config(base=phase), "ce", 0, protocols[0], tmp_path / "short.parquet", tmp_path)


def test_best_epoch_is_kept_and_survives_an_interruption(
    lists: dict, bases: dict, protocols: list[Path], tmp_path: Path, monkeypatch: Any
) -> None:
    """Option `keep: best`: the weights handed on are those of the best validation score."""
    phase = {"epochs": 4, "iterations": 8, "batch_size": 4, "lr": 0.05}
    options = {"keep": "best", "step": phase}
    train_step(step_of("ft", tmp_path / "whole", lists, bases, protocols, **options))
    with (tmp_path / "whole" / "validation.csv").open(newline="") as file:
        scores = [float(row["score"]) for row in csv.DictReader(file)]
    assert len(scores) == 4 and len(set(scores)) > 1
    step = step_of("ft", tmp_path / "check", lists, bases, protocols, **options)
    kept = load_model(tmp_path / "whole" / "model.safetensors")
    assert step.score is not None and step.score(kept) == pytest.approx(max(scores), abs=2e-3)
    real = engine._iterate
    monkeypatch.setattr(engine, "_iterate", lambda *a: (_ for _ in ()).throw(Killed) if a[4] == 5 else real(*a))
    with pytest.raises(Killed):
        train_step(step_of("ft", tmp_path / "cut", lists, bases, protocols, **options))
    assert (tmp_path / "cut" / ".best").exists()
    monkeypatch.setattr(engine, "_iterate", real)
    train_step(step_of("ft", tmp_path / "cut", lists, bases, protocols, **options))
    whole, cut = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[key], cut[key]) for key in whole)
    for name in ("validation.csv", "log.csv"):
        assert (tmp_path / "whole" / name).read_text() == (tmp_path / "cut" / name).read_text()
    assert not (tmp_path / "cut" / ".best").exists()
