"""Micro-batches: the gradients, counts, statistics and images of the whole batch. Every method: test_distributed.py."""

import copy
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.config import Config, load_config
from pipeline.distributed.whole_batch import WholeBatch
from pipeline.experiments.estimate import step_costs
from pipeline.losses import cross_entropy, summed_bce
from pipeline.losses.wilson import segmentation_loss
from pipeline.models.norm import keep_statistics
from pipeline.train import engine
from pipeline.train.accumulation import add_gradients
from tests.conftest import ROOT
from tests.train.bench import Bench, move_from_teacher

pytestmark = pytest.mark.usefixtures("one_thread")
PRESET = ROOT / "experiments" / "presets" / "small_gpu.yaml"


@pytest.fixture(scope="module")
def bench(minivoc: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(minivoc, tmp_path_factory.mktemp("accumulation"))


class _Images:
    """Eight images with unevenly many labelled pixels, a network, and two losses that count."""

    def __init__(self, *layers: nn.Module) -> None:
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), *layers, nn.Conv2d(4, 5, 1))
        self.images, self.masks = torch.randn(8, 3, 6, 6), torch.randint(0, 5, (8, 6, 6))
        for i in range(7):
            self.masks[i, : i // 2 + 2] = 255
        self.targets, self.weights = torch.rand(8, 5, 6, 6), torch.tensor([1.0, 1, 1, 0, 0, 1, 0, 0])
        self.passes = 0

    def losses(self, part: slice, whole: WholeBatch) -> dict[str, Tensor]:
        self.passes += 1
        logits = self.net(self.images[part])
        return {
            "ce": cross_entropy(logits, self.masks[part], reduction="mean_valid", count=whole.count("labelled")),
            "seg": segmentation_loss(logits, self.targets[part], self.weights[part], count=whole.count("images")),
        }

    def plain(self, part: slice, whole: WholeBatch) -> dict[str, Tensor]:
        self.passes += 1
        return {"ce": cross_entropy(self.net(self.images[part]), self.masks[part])}

    def gradients(self, parts: int, losses: Any) -> tuple[list[Tensor], dict[str, Tensor]]:
        self.net.zero_grad()
        size = 8 // parts
        terms = add_gradients([slice(k * size, k * size + size) for k in range(parts)], losses, [self.net])
        return [p.grad.clone() for p in self.net.parameters() if p.grad is not None], terms


@pytest.mark.parametrize("parts", [2, 4, 8])
@pytest.mark.parametrize("counting", [True, False])
def test_gradients_and_terms_are_those_of_the_batch(parts: int, counting: bool) -> None:
    """Also where a part holds half the labels of another, or no image that takes part."""
    data = _Images(nn.GroupNorm(2, 4))
    losses = data.losses if counting else data.plain
    expected, shown = data.gradients(1, losses)
    data.passes = 0
    got, terms = data.gradients(parts, losses)
    assert data.passes == parts * (2 if counting else 1), "parts pass twice only where a loss counts"
    assert terms.keys() == shown.keys() and not any(term.requires_grad for term in terms.values())
    for a, b in zip([*expected, *shown.values()], [*got, *terms.values()], strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_counting_leaves_no_trace() -> None:
    """Running statistics move once per micro-batch, and the second pass draws the numbers of the first."""
    counting, plain = _Images(nn.BatchNorm2d(4), nn.Dropout(0.5)), _Images(nn.BatchNorm2d(4), nn.Dropout(0.5))
    torch.manual_seed(1)
    counting.gradients(4, counting.losses)
    after = torch.get_rng_state()
    torch.manual_seed(1)
    plain.gradients(4, plain.plain)
    assert torch.equal(after, torch.get_rng_state())
    for name, buffer in counting.net.named_buffers():
        assert torch.equal(buffer, plain.net.get_buffer(name)), name
    assert int(counting.net[1].num_batches_tracked) == 4


def test_a_part_that_counts_more_than_the_first_is_our_mistake() -> None:
    data = _Images()
    parts = iter([data.plain, data.losses])
    with pytest.raises(AssertionError, match="asked for in one micro-batch and not in another: images, labelled"):
        data.gradients(2, lambda part, whole: next(parts)(part, whole))


def test_a_part_that_counts_less_than_the_first_is_our_mistake() -> None:
    """Also in the second pass, where the count is known and the sum would be right by accident."""
    data = _Images()
    for order in ([data.losses, data.plain], [data.losses, data.losses, data.losses, data.plain]):
        parts = iter(order)
        with pytest.raises(AssertionError, match="in one micro-batch and not in another: images, labelled"):
            data.gradients(2, lambda part, whole, parts=parts: next(parts)(part, whole))


@pytest.mark.parametrize("parts", [1, 2])
def test_two_losses_with_one_name_are_our_mistake(parts: int) -> None:
    data = _Images()

    def losses(part: slice, whole: WholeBatch) -> dict[str, Tensor]:
        logits, count = data.net(data.images[part]), whole.count("labelled")
        first = cross_entropy(logits, data.masks[part], reduction="mean_valid", count=count)
        return {"ce": first, "bce": summed_bce(logits, data.masks[part], reduction="mean_valid", count=count)}

    with pytest.raises(
        AssertionError, match="`labelled` asked for twice in one micro-batch; two losses need two names"
    ):
        data.gradients(parts, losses)


@pytest.mark.parametrize("turned", [False, True])
def test_counts_belong_to_their_names_whatever_the_order(turned: bool) -> None:
    """Every second micro-batch asks in the other order; by order of asking the two counts would be mixed up."""
    data, order = _Images(nn.GroupNorm(2, 4)), itertools.count()
    expected, shown = data.gradients(1, data.losses)

    def losses(part: slice, whole: WholeBatch) -> dict[str, Tensor]:
        logits = data.net(data.images[part])
        terms = {
            "ce": lambda: cross_entropy(
                logits, data.masks[part], reduction="mean_valid", count=whole.count("labelled")
            ),
            "seg": lambda: segmentation_loss(
                logits, data.targets[part], data.weights[part], count=whole.count("images")
            ),
        }
        names = ["ce", "seg"] if not turned or next(order) % 2 else ["seg", "ce"]
        return {name: terms[name]() for name in names}

    got, terms = data.gradients(4, losses)
    for name in shown:
        assert torch.allclose(shown[name], terms[name], atol=1e-6)
    for a, b in zip(expected, got, strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_plain_norms_differ_and_frozen_ones_do_not() -> None:
    """The statistics of a micro-batch are not those of the batch: no order of summation mends that."""
    for frozen in (False, True):
        whole, parted = _Images(nn.BatchNorm2d(4)), _Images(nn.BatchNorm2d(4))
        if frozen:
            keep_statistics(whole.net), keep_statistics(parted.net)
        before = copy.deepcopy(whole.net.state_dict())
        (first, _), (second, _) = whole.gradients(1, whole.losses), parted.gradients(4, parted.losses)
        apart = max(float((a - b).abs().max()) for a, b in zip(first, second, strict=True))
        assert apart < 1e-6 if frozen else apart > 1e-3
        assert torch.equal(whole.net[1].running_mean, before["1.running_mean"]) is frozen
        assert torch.equal(whole.net[1].running_var, parted.net[1].running_var) is frozen
        assert whole.net[1].weight.grad is not None, "weight and bias learn all the same"


def test_frozen_norms_stay_frozen_when_a_method_says_train() -> None:
    net = nn.Sequential(nn.BatchNorm2d(3))
    keep_statistics(net)
    net.train()(torch.randn(4, 3, 2, 2) + 5)
    assert float(net[0].running_mean.abs().max()) == 0 and net.training


@pytest.mark.parametrize("method", ["ft", "wilson"])
def test_micro_batches_hold_the_images_of_the_batch(method: str, bench: Bench, tmp_path: Path) -> None:
    """In every iteration; new and old images alternate inside each, as they do in the batch."""
    base = bench.base("bce" if method == "wilson" else "ce", "small_cnn")
    phase = {"batch_size": 4, "iterations": 5}
    whole = bench.step(method, "small_cnn", 1, base, tmp_path / "whole", phase=phase)
    parted = bench.step(method, "small_cnn", 1, base, tmp_path / "parted", phase=phase, gradient_accumulation=2)
    assert whole.iterations == parted.iterations == 5
    for one, other in zip(whole.source.batches(0, 5), parted.source.batches(0, 5), strict=True):
        assert sorted(one.image_ids) == sorted(other.image_ids)
        for part in other.split(2):
            assert len(part.images) == 2 and {role in ("replay", "memory") for role in part.roles} == {True, False}
        order = [other.image_ids.index(name) for name in one.image_ids]
        assert torch.equal(one.images, other.images[order]) and torch.equal(one.masks, other.masks[order])


def test_settings_that_cannot_work_are_one_clear_line(bench: Bench, tmp_path: Path) -> None:
    base, phase = bench.base("ce", "small_cnn"), {"batch_size": 4}
    with pytest.raises(ValueError, match="batch_size` is 4, which 3 parts .* do not divide"):
        bench.step("ft", "small_cnn", 1, base, tmp_path, phase=phase, gradient_accumulation=3)
    config = bench.config("small_cnn", freeze_bn=True)
    with pytest.raises(ValueError, match="step 0 begins from random weights.*set train.pretrained"):
        engine_base(config, bench, tmp_path)


def engine_base(config: Any, bench: Bench, folder: Path) -> engine.Step:
    from pipeline.train.assemble import assemble_base

    listed = bench.folder / "small_cnn" / "ce" / "train_list.parquet"
    return assemble_base(config, "ce", 0, bench.protocols[0], listed, folder)


# The preset.


@pytest.mark.parametrize(
    "name", ["voc_15-5_overlap_resnet101", "voc_10-1_overlap_resnet101_ssul", "ade_100-50_overlap_resnet101"]
)
def test_small_gpu_keeps_the_recipe(name: str) -> None:
    plain, small = with_and_without_preset(name)
    for phase in ("base", "step"):
        assert getattr(plain.train, phase) == getattr(small.train, phase)
        assert getattr(plain.train, phase).batch_size % small.train.gradient_accumulation == 0


def with_and_without_preset(name: str) -> tuple[Config, Config]:
    files = [ROOT / "config.yaml", ROOT / "experiments" / f"{name}.yaml"]
    return load_config(files), load_config([*files, PRESET])


def test_small_gpu_needs_a_quarter_of_the_activations() -> None:
    both = with_and_without_preset("voc_15-5_overlap_resnet101")
    plop = next(run for run in both[0].experiment.runs if run.method == "plop")
    costs = [step_costs(config, plop)[1] for config in both]
    assert costs[0].iterations == costs[1].iterations and costs[0].flops == costs[1].flops
    fixed = 4.0 * costs[0].parameters * 4
    assert costs[1].memory - fixed == pytest.approx((costs[0].memory - fixed) / 4)


@pytest.mark.parametrize("method", ["plop", "web_wilss"])
def test_small_gpu_sees_the_losses_and_statistics_of_the_plain_run(
    method: str, bench: Bench, tmp_path: Path, monkeypatch: Any
) -> None:
    """The preset's settings against a run that differs in nothing but micro-batches; float32, where 1e-5 means it."""
    preset = load_config([PRESET]).train
    base, seen = bench.base("bce" if method == "web_wilss" else "ce", "small_cnn"), {}
    for accumulate in (1, preset.gradient_accumulation):
        phase = {"batch_size": 4, "iterations": 4, "epochs": 4}
        changes = {"freeze_bn": preset.freeze_bn, "precision": "float32", "gradient_accumulation": accumulate}
        step = bench.step(method, "small_cnn", 1, base, tmp_path / str(accumulate), phase=phase, **changes)
        move_from_teacher(step.model)
        losses, real = [], engine._iterate
        with monkeypatch.context() as patch:
            patch.setattr(engine, "_iterate", lambda *a, r=real, found=losses: found.append(r(*a)) or found[-1])
            engine.train_step(step)
        seen[accumulate] = losses, dict(step.model.named_buffers()), step.method.state()
    (one, buffers, state), (other, same_buffers, same_state) = seen.values()
    for a, b in zip(one, other, strict=True):
        assert b == pytest.approx(a, rel=1e-5, abs=1e-5)
    assert all(torch.equal(buffers[name], same_buffers[name]) for name in buffers)
    assert all(torch.allclose(state[name], same_state[name], atol=1e-5) for name in state)
