"""Every registered method on both small backbones: two steps of 15-1, interrupted and resumed, and hard batches."""

import csv
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from pipeline.artifacts import TRAIN_LIST, Layout, write_table
from pipeline.config import Config, Datasets, parse_config
from pipeline.datasets.protocol import write_protocol
from pipeline.pseudolabel import write_train_list
from pipeline.pseudolabel.listing import Sources
from pipeline.train import engine
from pipeline.train.assemble import Previous, assemble_base, assemble_step
from pipeline.train.engine import train_step
from pipeline.train.methods import Batch, Forward, Method, StepInfo, get, names, settings_of
from pipeline.train.models import SegmentationModel, build_model, load_model

BACKBONES = ("small_cnn", "small_segformer")
EVERY = pytest.mark.parametrize(("method", "backbone"), [(m, b) for m in names() for b in BACKBONES])
WEAK = {"pseudo_epoch": 2}


class Bench:
    """MiniVOC as 15-1, bases trained when first asked for, and steps of any method."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root, self.folder = root, folder
        self.protocols = [folder / f"step{step}.json" for step in range(3)]
        for step, path in enumerate(self.protocols):
            write_protocol(Datasets(root=str(root), task="15-1"), step, path)
        self.base = cache(self._base)
        masks = root / "SegmentationClassAug"
        saliency = Path(Layout(dataset_root=str(root)).saliency(""))
        saliency.mkdir(parents=True, exist_ok=True)
        for path in masks.glob("*.png"):
            found = (np.asarray(Image.open(path)) % 255 > 0).astype(np.uint8) * 255
            Image.fromarray(found).save(saliency / path.name)

    def config(self, backbone: str, method: str = "") -> Config:
        phase = {"epochs": 6, "iterations": 6, "batch_size": 2, "lr": 0.005}
        train = {"threads": 1, "tensorboard": False, "checkpoint_every": 2, "base": phase, "step": phase}
        methods = {method: WEAK} if method and get(method).supervision == "image" else {}
        datasets = {"root": str(self.root), "task": "15-1", "train_size": 64, "eval_size": 64}
        return parse_config({"train": {**train, "backbone": backbone}, "datasets": datasets, "methods": methods})

    def _base(self, recipe: str, backbone: str) -> Path:
        folder = self.folder / backbone / recipe
        write_train_list(self.protocols[0], folder / "train_list.parquet")
        config = self.config(backbone)
        train_step(assemble_base(config, recipe, 0, self.protocols[0], folder / "train_list.parquet", folder))
        return folder

    def list_for(self, method: str, step: int, before: Path, out: Path) -> Path:
        """Write the step's training list: exemplars beside the data set, web images and replay, or all images."""
        cls, path = get(method), out / "train_list.parquet"
        previous = before / "train_list.parquet"
        if cls.supervision == "pixel":
            earlier = tuple(self.protocols[:step]) if cls.sees == "all" else ()
            memory = 0 if earlier else 6
            write_train_list(self.protocols[step], path, Sources(earlier=earlier, memory=memory, previous=previous))
            return path
        rows = write_train_list(self.protocols[step], path)
        web = [{**row, "role": "web", "mask": ""} for row in rows]
        replay = [row for row in write_train_list(self.protocols[0], path) if not {16, 17} & set(row["labels"])][:6]
        replay = [{**row, "role": "replay", "mask": self._old_mask(row["mask"])} for row in replay]
        write_table(path, web + replay, TRAIN_LIST)
        return path

    def _old_mask(self, mask: str) -> str:
        path = self.folder / "old" / Path(mask).name
        path.parent.mkdir(exist_ok=True)
        Image.open(mask).point(lambda v: v if v < 16 else 0).save(path)
        return str(path)

    def step(self, method: str, backbone: str, step: int, before: Path, out: Path) -> engine.Step:
        out.mkdir(parents=True, exist_ok=True)
        previous = Previous(before / "model.safetensors", before / "method_state.safetensors")
        listed = self.list_for(method, step, before, out)
        config = self.config(backbone, method)
        return assemble_step(config, method, 0, self.protocols[step], listed, previous, out)


@pytest.fixture(scope="module")
def bench(minivoc: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(minivoc, tmp_path_factory.mktemp("methods"))


class Killed(BaseException):
    """Stands for a kill between two iterations."""


def same_tensors(a: Path, b: Path, name: str) -> bool:
    first, second = load_file(a / name), load_file(b / name)
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def log_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@EVERY
def test_two_steps_interrupted_and_resumed(
    method: str, backbone: str, bench: Bench, tmp_path: Path, monkeypatch: Any
) -> None:
    base = bench.base(get(method).recipe, backbone)
    train_step(bench.step(method, backbone, 1, base, tmp_path / "whole1"))
    whole, cut = tmp_path / "whole2", tmp_path / "cut2"
    train_step(bench.step(method, backbone, 2, tmp_path / "whole1", whole))
    real, count = engine._iterate, [0]

    def dying(*arguments: Any) -> Any:
        count[0] += 1
        if count[0] == 4:
            raise Killed
        return real(*arguments)

    monkeypatch.setattr(engine, "_iterate", dying)
    with pytest.raises(Killed):
        train_step(bench.step(method, backbone, 2, tmp_path / "whole1", cut))
    monkeypatch.setattr(engine, "_iterate", real)
    assert not (cut / "model.safetensors").exists() and (cut / ".resume").exists()
    torch.manual_seed(99)
    train_step(bench.step(method, backbone, 2, tmp_path / "whole1", cut))
    for name in ("model.safetensors", "method_state.safetensors"):
        assert same_tensors(whole, cut, name), name
    assert log_of(whole) == log_of(cut)
    values = [float(row["value"]) for row in log_of(whole)]
    assert values and all(abs(v) < 1e5 for v in values)
    assert not (cut / ".resume").exists()


@EVERY
def test_newest_classifier_moves_and_the_checkpoint_fits(
    method: str, backbone: str, bench: Bench, tmp_path: Path
) -> None:
    base = bench.base(get(method).recipe, backbone)
    step = bench.step(method, backbone, 1, base, tmp_path)
    newest = step.model.classifiers[-1]
    before = [p.detach().clone() for p in newest.parameters()]
    train_step(step)
    assert any(not torch.equal(a, b) for a, b in zip(before, newest.parameters(), strict=True))
    expected = get(method).heads(step.method.settings, (16, 1)).sizes
    assert load_model(tmp_path / "model.safetensors").classes_per_step == list(expected)


def batch_of(masks: torch.Tensor, present: list[int]) -> Batch:
    labels = torch.zeros(len(masks), 20)
    labels[:, [c - 1 for c in present]] = 1
    images = torch.randn(len(masks), 3, *masks.shape[-2:], generator=torch.Generator().manual_seed(1))
    roles = ("dataset", "memory")[: len(masks)]
    return Batch(images, masks, labels, ("a", "b"), roles, (masks % 255 > 0).long())


HARD = {
    "one_class": (torch.full((2, 64, 64), 16), [16]),
    "only_void": (torch.full((2, 64, 64), 255), []),
    "only_background": (torch.zeros(2, 64, 64, dtype=torch.int64), []),
    "an_empty_class": (torch.tensor([0, 17]).repeat_interleave(32).expand(2, 64, 64).contiguous(), [17]),
}


def prepared(method: str, backbone: str) -> tuple[Method, SegmentationModel, SegmentationModel]:
    """Return a method, its model ready for 15-5's second step, and the teacher."""
    torch.manual_seed(0)
    cls, settings = get(method), settings_of(method, {}, "minivoc", "15-5", backbone)
    old, new = cls.heads(settings, (16,)), cls.heads(settings, (16, 5))
    teacher = build_model(backbone, old.sizes, classifier=old.kind).eval()
    model = build_model(backbone, new.sizes, classifier=new.kind)
    model.load_state_dict(teacher.state_dict(), strict=False)
    rule = cls(settings, StepInfo("minivoc", "15-5", 1, (16, 5), 4, 0, backbone))
    rule.init_classifier(model)
    rule.attach(model)
    rule.train_mode(model)
    return rule, model, teacher


def losses_of(rule: Method, model: SegmentationModel, teacher: SegmentationModel, batch: Batch) -> dict:
    rule.calibrate([batch], teacher)
    with torch.no_grad():
        taught = teacher(batch.images)
    return rule.losses(Forward(batch, model(batch.images), taught, epoch=6))


@EVERY
@pytest.mark.parametrize("case", HARD)
def test_hard_batches_give_finite_losses_and_gradients(method: str, backbone: str, case: str, one_thread: Any) -> None:
    rule, model, teacher = prepared(method, backbone)
    terms = losses_of(rule, model, teacher, batch_of(*HARD[case]))
    assert all(torch.isfinite(term) for term in terms.values()), terms
    torch.stack(list(terms.values())).sum().backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients and all(bool(torch.isfinite(g).all()) for g in gradients)


@pytest.mark.parametrize("method", names())
def test_every_method_runs_on_a_published_segformer(method: str, one_thread: Any) -> None:
    """Its body is coarser than its logits; the losses must be finite and reach the newest classifier."""
    rule, model, teacher = prepared(method, "segformer_b0")
    terms = losses_of(rule, model, teacher, batch_of(*HARD["an_empty_class"]))
    assert all(torch.isfinite(term) for term in terms.values()), terms
    torch.stack(list(terms.values())).sum().backward()
    assert any(p.grad is not None for p in model.classifiers[-1].parameters())
