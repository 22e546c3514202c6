"""Checks F1-F7 of recent_methods.md 2.6: EWF."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from pipeline.methods import StepInfo, get, settings_of
from pipeline.methods.ewf import measure_statistics
from pipeline.models import build_model
from pipeline.models.fusion import fuse, new_share, threshold
from pipeline.train import engine
from pipeline.train.engine import train_step
from tests.golden.inputs import S, near
from tests.train.bench import Bench

OLD, NEW = S((2, 3, 2, 2), 1.0, 0.2), S((2, 3, 2, 2), 1.01, 0.25)
SHARE = new_share(1, 16)


def test_XF1_alpha() -> None:
    first = {(1, 20): 0.21821789, (5, 16): 0.48795004, (10, 11): 0.69006556, (1, 11): 0.28867513}
    first |= {(50, 101): 0.57543534, (10, 101): 0.30015011, (5, 101): 0.21718612, (50, 51): 0.70359754}
    first |= {(3, 6): 0.57735027, (3, 18): 0.37796447}
    for (n, old), expected in first.items():
        assert new_share(n, old) == near(expected)
    steps = [new_share(1, old) for old in range(16, 21)]
    assert steps == near(0.24253563, 0.23570226, 0.22941573, 0.22360680, 0.21821789)


def test_XF2_tensor() -> None:
    old, new = {"a": OLD.clone()}, {"a": NEW.clone(), "only_new": NEW.clone()}
    fuse(old, new, SHARE)
    fused = new["a"]
    assert fused.flatten()[:6].tolist() == near(
        0.21048921, 0.93690223, 0.79803306, -0.07767797, -0.88140730, -0.87103993
    )
    assert [fused.sum().item(), fused.norm().item()] == near(0.78561717, 3.44746484)
    assert [(fused - OLD).norm().item(), (fused - NEW).norm().item()] == near(0.14747286, 0.46057331)
    assert torch.equal(new["only_new"], NEW)


def test_XF3_statistics() -> None:
    def statistics(a: float, b: float, counter: int, scale: float, shift: float) -> dict[str, Tensor]:
        variance = 1 + S((3,), scale, shift).abs()
        return {"running_mean": S((3,), a, b), "running_var": variance, "num_batches_tracked": torch.tensor(counter)}

    old, new = statistics(0.4, 0.1, 100, 0.3, 0.2), statistics(0.45, 0.2, 140, 0.35, 0.3)
    kept = {key: value.clone() for key, value in new.items()}
    fuse(old, kept, SHARE, statistics=False)
    assert all(torch.equal(kept[key], new[key]) for key in new)
    fuse(old, new, SHARE)
    assert new["running_mean"].tolist() == near(0.12380465, 0.50992703, 0.80949176)
    assert new["running_var"].tolist() == near(1.22215912, 1.50992703, 1.74745837)
    assert int(new["num_batches_tracked"]) == 140
    mixed = (1 - SHARE) * 100 + SHARE * 140
    assert mixed == near(109.70142)


def test_XF4_background_bias() -> None:
    info = StepInfo("voc", "15-1", 1, (16, 1), 1, 0)
    teacher, model = build_model("small_cnn", [16]).double(), build_model("small_cnn", [16, 1]).double()
    nn.init.constant_(teacher.classifiers[0].bias, 0.5)
    model.load_state_dict(teacher.state_dict(), strict=False)
    method = get("ewf")(settings_of("ewf", {}, "voc", "15-1", "small_cnn"), info)
    assert method.inner.settings.loss_kd == 10.0
    method.init_classifier(model)
    frozen = model.classifiers[0].bias
    assert frozen[0].item() == near(-0.19314718) and not frozen.requires_grad
    assert model.classifiers[1].bias.requires_grad
    method.finish(model, teacher, lambda: ())
    assert frozen[0].item() == near(0.33188712) and frozen[1].item() == 0.5


def test_XF5_three_steps() -> None:
    weight, found = {"a": torch.zeros(1, dtype=torch.float64)}, []
    for old_classes in (16, 17, 18):
        trained = {"a": weight["a"] + 1}
        fuse(weight, trained, new_share(1, old_classes))
        weight = trained
        found.append(weight["a"].item())
    assert found == near(0.24253563, 0.47823789, 0.70765362)


def test_XF6_threshold() -> None:
    old = {"a": OLD.clone(), "b": S((5,), 0.7, 0.3)}
    new = {"a": NEW.clone(), "b": S((5,), 0.72, 0.35)}
    before = {key: value.clone() for key, value in new.items()}
    above = threshold(old, new)
    assert above == near(0.08503226)
    fuse(old, new, SHARE, above=above)
    assert sum(int((new[key] == before[key]).sum()) for key in new) == 16
    assert new["a"].sum().item() == near(0.75237399)
    assert new["a"].flatten()[:4].tolist() == near(0.24740396, 0.95209034, 0.76535495, -0.13796587)
    assert new["b"].tolist() == near(0.34289781, 0.87720050, 0.97607092, 0.65483983, 0.01008186)


@pytest.fixture(scope="module")
def bench(minivoc: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(minivoc, tmp_path_factory.mktemp("ewf"))


def test_XF7_the_fused_model_is_written_and_fused_once(bench: Bench, tmp_path: Path, monkeypatch: Any) -> None:
    base = bench.base("ce", "small_cnn")
    old = load_file(base / "model.safetensors")
    cls = get("ewf")
    with monkeypatch.context() as patch:
        patch.setattr(cls, "finish", lambda *arguments: None)
        train_step(bench.step("ewf", "small_cnn", 1, base, tmp_path / "unfused"))
    unfused = load_file(tmp_path / "unfused" / "model.safetensors")

    def dying(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(engine, "_finish", dying)
        with pytest.raises(KeyboardInterrupt):
            train_step(bench.step("ewf", "small_cnn", 1, base, tmp_path / "fused"))
    train_step(bench.step("ewf", "small_cnn", 1, base, tmp_path / "fused"))
    fused = load_file(tmp_path / "fused" / "model.safetensors")
    alpha = math.sqrt(1 / 17)
    moved = 0
    for key, value in fused.items():
        if key.startswith("classifiers.1."):
            assert torch.equal(value, unfused[key]), "the newest classifier is the trained one"
        elif value.is_floating_point():
            assert torch.allclose(value, (1 - alpha) * old[key] + alpha * unfused[key], atol=1e-6), key
            moved += int(not torch.equal(value, old[key]))
        else:
            assert torch.equal(value, unfused[key])
    assert moved > 20
    differing = fused["classifiers.0.bias"] != old["classifiers.0.bias"]
    assert differing.nonzero().flatten().tolist() == [0]
    assert torch.equal(fused["classifiers.0.weight"], old["classifiers.0.weight"])
    # The next step's teacher is what was written.
    teacher = bench.step("ewf", "small_cnn", 2, tmp_path / "fused", tmp_path / "next").teacher
    assert teacher is not None
    assert all(torch.equal(value, fused[key]) for key, value in teacher.state_dict().items())


def test_fresh_statistics_are_those_of_the_batches(bench: Bench, tmp_path: Path) -> None:
    base = bench.base("ce", "small_cnn")
    step = bench.step("ewf", "small_cnn", 1, base, tmp_path / "again")
    model, batches = step.model, list(step.source.batches(0, 2))
    momentum = model.body.stem[1][0].momentum
    measure_statistics(model, batches)
    inputs = [model.body.stem[0](batch.images) for batch in batches]
    expected = torch.stack([x.mean(dim=(0, 2, 3)) for x in inputs]).mean(dim=0)
    norm = model.body.stem[1][0]
    assert torch.allclose(norm.running_mean, expected, atol=1e-5) and norm.momentum == momentum
