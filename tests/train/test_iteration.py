"""What one iteration does and in which order, which hooks the engine calls, and what a resumed step must agree in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from pipeline.methods import Batch, Forward, Method
from pipeline.models import SegmentationModel
from pipeline.train import engine
from pipeline.train.engine import Step, train_step
from tests.methods import calling
from tests.train.bench import Bench
from tests.train.tiny import Batches, Run, SpiedSGD, tiny_model

pytestmark = pytest.mark.usefixtures("one_thread")


class Recorder(Method):
    """A method whose every hook leaves its name and what it saw."""

    name = "recorder"

    def __init__(self) -> None:
        super().__init__(None, calling.info((3, 1)))
        self.calls: list[str] = []
        self.gradients: dict[str, list[Tensor]] = {"observe": [], "step": []}
        self.training: list[tuple[bool, bool]] = []
        self.teachers: list[bool] = []

    def attach(self, model: SegmentationModel) -> None:
        self.calls.append("attach")

    def calibrate(self, batches: Iterable[Batch], teacher: SegmentationModel) -> None:
        self.calls.append(f"calibrate {len(list(batches))}")

    def train_mode(self, model: SegmentationModel) -> None:
        self.calls.append("train_mode")
        super().train_mode(model)

    def losses(self, forward: Forward) -> dict[str, Tensor]:
        self.calls.append("losses")
        self.teachers.append(forward.teacher is not None and not forward.teacher.logits.requires_grad)
        return {"a": forward.student.logits.mean(), "b": 2 * forward.student.logits.mean()}

    def observe(self, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> None:
        self.calls.append("observe")
        self.gradients["observe"].append(_gradient(named_parameters))

    def penalty(self, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> Tensor:
        self.calls.append("penalty")
        return 5 * torch.stack([p.sum() for name, p in named_parameters if name == "classifiers.1.bias"]).sum()


def _gradient(named: Iterable[tuple[str, nn.Parameter]]) -> Tensor:
    [found] = [p.grad for name, p in named if name == "classifiers.1.bias"]
    assert found is not None
    return found.clone()


class RecordingSGD(SpiedSGD):
    """The optimiser, which tells when it clears and when it steps, and with which gradient."""

    method: Recorder
    watched: nn.Parameter

    def zero_grad(self, *arguments: Any, **options: Any) -> None:
        self.method.calls.append("zero_grad")
        super().zero_grad(*arguments, **options)

    def step(self, *arguments: Any, **options: Any) -> Any:
        self.method.calls.append("step")
        assert self.watched.grad is not None
        self.method.gradients["step"].append(self.watched.grad.clone())
        return super().step(*arguments, **options)


def batches(n: int) -> Batches:
    images = torch.randn(n, 2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    return Batches([calling.batch(x, torch.zeros(2, 16, 16, dtype=torch.int64)) for x in images])


def recorded(folder: Path, patch: pytest.MonkeyPatch, teacher: SegmentationModel | None) -> tuple[Recorder, Run]:
    method, model = Recorder(), tiny_model((3, 1))
    run = Run(method, model, teacher, batches(3), folder)
    RecordingSGD.method, RecordingSGD.watched = method, model.classifiers[1].bias
    RecordingSGD.watched.register_post_accumulate_grad_hook(lambda p: method.calls.append("backward"))
    patch.setattr(torch.optim, "SGD", RecordingSGD)
    train_step(run.step())
    return method, run


def test_order_of_an_iteration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method, _ = recorded(tmp_path, monkeypatch, tiny_model((3,), 0.2))
    once = ["train_mode", "zero_grad", "losses", "backward", "observe", "penalty", "backward", "step"]
    assert method.calls == ["attach", "calibrate 3", *once * 3]


def test_without_a_teacher_nothing_is_calibrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method, _ = recorded(tmp_path, monkeypatch, None)
    assert method.calls[:2] == ["attach", "train_mode"] and method.teachers == [False] * 3


def test_gradients_are_those_of_one_iteration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Statistics see the losses alone; the step sees losses and penalty; nothing piles up."""
    method, _ = recorded(tmp_path, monkeypatch, tiny_model((3,), 0.2))
    # Both terms together are 3 times the mean over 4 channels; the penalty is 5 times the bias.
    assert torch.cat(method.gradients["observe"]).tolist() == pytest.approx([0.75] * 3)
    assert torch.cat(method.gradients["step"]).tolist() == pytest.approx([5.75] * 3)


def test_the_teacher_is_fixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = tiny_model((3,), 0.2).train()
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    method, _ = recorded(tmp_path, monkeypatch, teacher)
    assert method.teachers == [True] * 3 and not teacher.training
    assert not any(p.requires_grad for p in teacher.parameters())
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())


def test_rates_follow_the_schedule_in_every_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class TwoGroups(Recorder):
        def constant_epochs(self) -> int:
            return 1

        def param_groups(self, model: SegmentationModel, extra: nn.Module | None, lr: float) -> list[dict[str, Any]]:
            return [
                {"params": list(model.body.parameters()), "lr": lr},
                {"params": [*model.head.parameters()], "lr": 3},
            ]

    run = Run(TwoGroups(), tiny_model((3, 1)), None, batches(2), tmp_path, epochs=3, iterations=6, lr=0.5)
    seen = run.go(monkeypatch)
    factors = [1, 1, *((1 - k / 6) ** 0.9 for k in (2, 3, 4, 5))]
    assert seen.epochs == [0, 0, 1, 1, 2, 2]
    assert [rate for both in seen.optimizer.rates for rate in both] == pytest.approx(
        [rate * factor for factor in factors for rate in (0.5, 3)]
    )


def test_sgd_is_nesterov_s_with_decay_on_every_parameter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the update written out: v <- mu v + g, theta <- theta - lr (g + mu v), g with decay."""
    run = Run(Recorder(), tiny_model((3, 1)), None, batches(1), tmp_path, lr=0.1, weight_decay=0.3)
    run.train = {"momentum": 0.7}
    theta = float(run.model.classifiers[1].bias.detach())
    v = 0.0
    run.go(monkeypatch)
    for k in range(3):
        g = 5.75 + 0.3 * theta
        v = 0.7 * v + g
        theta -= 0.1 * (1 - k / 3) ** 0.9 * (g + 0.7 * v)
    assert float(run.model.classifiers[1].bias.detach()) == pytest.approx(theta, rel=1e-5)


# From files: the assembly's hooks, fingerprints, and a resumed step.


@pytest.fixture(scope="module")
def bench(minivoc: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(minivoc, tmp_path_factory.mktemp("iteration"))


def test_an_assembled_step_is_initialised_and_frozen(bench: Bench, tmp_path: Path) -> None:
    """What a method's own function does must hold after the step was assembled from a checkpoint, too."""
    base = bench.base("ce", "small_cnn")
    old = load_file(base / "model.safetensors")
    for name in ("mib", "plop", "sats", "dft", "ft"):
        model = bench.step(name, "small_cnn", 1, base, tmp_path / name).model
        first, newest = model.classifiers[0], model.classifiers[1]
        shifted = old["classifiers.0.bias"][0] - torch.log(torch.tensor(2.0))
        assert bool(torch.isclose(first.bias[0], shifted)) is (name != "ft"), name
        assert torch.equal(newest.weight[0], first.weight[0]) is (name != "ft"), name
        learning = {key.split(".")[0] for key, p in model.named_parameters() if p.requires_grad}
        assert learning == ({"classifiers"} if name == "dft" else {"body", "head", "classifiers"}), name
    assert [key for key, p in model_of(bench, "dft", base, tmp_path) if p.requires_grad] == [
        "classifiers.1.weight", "classifiers.1.bias",
    ]  # fmt: skip


def model_of(bench: Bench, name: str, base: Path, folder: Path) -> list[tuple[str, nn.Parameter]]:
    return list(bench.step(name, "small_cnn", 1, base, folder / "again").model.named_parameters())


def test_an_assembled_step_takes_the_statistics_over(bench: Bench, tmp_path: Path) -> None:
    base = bench.base("ce_importance", "small_cnn")
    state = load_file(base / "method_state.safetensors")
    step = bench.step("ewc", "small_cnn", 1, base, tmp_path)
    named = list(step.model.named_parameters())
    step.method.observe(named)
    with torch.no_grad():
        step.model.classifiers[0].bias.add_(1)
    fisher = state["ewc/fisher/classifiers.0.bias"]
    scaled = (fisher - fisher.min()) / (fisher.max() - fisher.min() + 1e-8)
    penalty = step.method.penalty(named)
    assert penalty is not None and float(penalty) == pytest.approx(500 * float(scaled.sum()), rel=1e-4)


Change = Callable[[Bench, Path, Path], Step]
CHANGES: dict[str, Change] = {
    "method": lambda b, base, out: b.step("lwf", "small_cnn", 1, base, out),
    "rate": lambda b, base, out: b.step("ft", "small_cnn", 1, base, out, phase={"lr": 0.006}),
    "length": lambda b, base, out: b.step("ft", "small_cnn", 1, base, out, phase={"iterations": 7}),
    "momentum": lambda b, base, out: b.step("ft", "small_cnn", 1, base, out, momentum=0.8),
    "decay": lambda b, base, out: b.step("ft", "small_cnn", 1, base, out, weight_decay=1e-3),
    "precision": lambda b, base, out: b.step("ft", "small_cnn", 1, base, out, precision="float32"),
    "micro-batches": lambda b, base, out: b.step("ft", "small_cnn", 1, base, out, gradient_accumulation=2),
    "step": lambda b, base, out: b.step("ft", "small_cnn", 2, out / "one", out),
}


def test_the_fingerprint_covers_what_decides_the_result(bench: Bench, tmp_path: Path) -> None:
    base = bench.base("ce", "small_cnn")
    train_step(bench.step("ft", "small_cnn", 1, base, tmp_path / "step" / "one"))
    plain = bench.step("ft", "small_cnn", 1, base, tmp_path / "plain").fingerprint
    found = {name: change(bench, base, tmp_path / name).fingerprint for name, change in CHANGES.items()}
    found["previous"] = from_other_previous(bench, base, tmp_path)
    found["list"] = from_other_list(bench, base, tmp_path / "list")
    found["settings"] = with_setting(bench, base, tmp_path / "settings", 7.0)
    found["other settings"] = with_setting(bench, base, tmp_path / "other", 8.0)
    assert plain not in found.values() and len(set(found.values())) == len(found)
    same = [
        bench.step("ft", "small_cnn", 1, base, tmp_path / "again"),
        bench.step("ft", "small_cnn", 1, base, tmp_path / "often", checkpoint_every=1, tensorboard=True),
    ]
    assert {step.fingerprint for step in same} == {plain}, "where it lies and how often it is saved decide nothing"


def from_other_previous(bench: Bench, base: Path, folder: Path) -> str:
    import shutil

    from safetensors import safe_open
    from safetensors.torch import save_file

    shutil.copytree(base, folder / "base")
    with safe_open(base / "model.safetensors", "pt") as file:
        about = file.metadata()
    tensors = load_file(base / "model.safetensors")
    tensors["classifiers.0.bias"] += 1
    save_file(tensors, folder / "base" / "model.safetensors", about)
    return bench.step("ft", "small_cnn", 1, folder / "base", folder / "previous").fingerprint


def from_other_list(bench: Bench, base: Path, folder: Path) -> str:
    from pipeline.artifacts import TRAIN_LIST, read_table, write_table
    from pipeline.train.assemble import Previous, assemble_step

    folder.mkdir()
    listed = bench.list_for("ft", 1, base, folder)
    write_table(listed, read_table(listed, TRAIN_LIST)[:-1], TRAIN_LIST)
    previous = Previous(base / "model.safetensors", base / "method_state.safetensors")
    config = bench.config("small_cnn", "ft")
    return assemble_step(config, "ft", 0, bench.protocols[1], listed, previous, folder).fingerprint


def with_setting(bench: Bench, base: Path, folder: Path, weight: float) -> str:
    from pipeline.train.assemble import Previous, assemble_step

    folder.mkdir()
    config = bench.config("small_cnn", "lwf")
    config.methods["lwf"] = {calling.named("lwf", "weight"): weight}
    listed, previous = bench.list_for("lwf", 1, base, folder), Previous(base / "model.safetensors")
    return assemble_step(config, "lwf", 0, bench.protocols[1], listed, previous, folder).fingerprint


class Killed(BaseException):
    """Stands for a kill between two iterations."""


def with_dropout(step: Step) -> Step:
    """Let the head drop a third of its channels by the global generator, in training mode."""

    def drop(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return F.dropout(output, 1 / 3, module.training)

    step.model.head.register_forward_hook(drop)
    return step


def test_a_resumed_step_repeats_dropout_and_shuffling(bench: Bench, tmp_path: Path, monkeypatch: Any) -> None:
    base, phase = bench.base("ce", "small_cnn"), {"iterations": 12, "epochs": 4}

    def step(folder: str) -> Step:
        return with_dropout(bench.step("ft", "small_cnn", 1, base, tmp_path / folder, phase=phase, checkpoint_every=5))

    seen: list[tuple[int, tuple[str, ...]]] = []
    real = engine._iterate

    def watched(*arguments: Any) -> Any:
        seen.append((arguments[4], arguments[3].image_ids))
        if stop and arguments[4] == stop[0]:
            raise Killed
        return real(*arguments)

    monkeypatch.setattr(engine, "_iterate", watched)
    stop: list[int] = []
    train_step(step("whole"))
    whole, order = dict(seen), [ids for _, ids in seen]
    assert len(set(order)) > 3, "batches are shuffled"
    torch.manual_seed(5)
    train_step(step("other_seed"))  # the assembly seeds the generator itself
    stop.append(7)
    with pytest.raises(Killed):
        train_step(step("cut"))
    stop.clear()
    resumed, before = step("cut"), len(seen)
    torch.manual_seed(99)
    train_step(resumed)
    again = seen[before:]
    assert [i for i, _ in again] == list(range(5, 12)) and all(whole[i] == ids for i, ids in again)
    first, second, third = (load_file(tmp_path / n / "model.safetensors") for n in ("whole", "cut", "other_seed"))
    assert all(torch.equal(first[key], second[key]) and torch.equal(first[key], third[key]) for key in first)


def test_dropout_moves_the_weights(bench: Bench, tmp_path: Path) -> None:
    """Without this the test above would hold for a network that draws no number."""
    base = bench.base("ce", "small_cnn")
    for name, change in (("plain", lambda step: step), ("dropped", with_dropout)):
        train_step(change(bench.step("ft", "small_cnn", 1, base, tmp_path / name)))
    first, second = (load_file(tmp_path / n / "model.safetensors") for n in ("plain", "dropped"))
    assert not torch.equal(first["classifiers.1.bias"], second["classifiers.1.bias"])
