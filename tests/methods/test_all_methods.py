"""Every registered method on both small backbones: two steps of 15-1, interrupted and resumed, and hard batches."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pipeline.datasets.readers.class_names import VOC
from pipeline.methods import Batch, Forward, Method, StepInfo, get, names, settings_of
from pipeline.models import SegmentationModel, build_model, load_model
from pipeline.train import engine
from pipeline.train.engine import train_step
from tests.train.bench import Bench

BACKBONES = ("small_cnn", "small_segformer")
EVERY = pytest.mark.parametrize(("method", "backbone"), [(m, b) for m in names() for b in BACKBONES])


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
    rule = cls(settings, StepInfo("minivoc", "15-5", 1, (16, 5), 4, 0, backbone, names=tuple(VOC)))
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
