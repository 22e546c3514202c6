"""Checks G1-G10 (EWC, PI, RW) of ciss_methods.md section 9, and what carries them through a run."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline.losses.importance import EWC, Importance, PathIntegral, RiemannianWalk, min_max
from tests.golden.inputs import S, near

THETA = S((3,), 1, 0.3)
G1, G2, G3 = S((3,), 0.8, 0.5), S((3,), 1.2, 0.1), S((3,), 0.6, 0.9)
NOW = THETA + torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64)
D1 = torch.tensor([-0.01, 0.02, -0.03], dtype=torch.float64)
D2 = torch.tensor([0.02, -0.01, -0.02], dtype=torch.float64)


def parameter(value: Tensor) -> nn.Parameter:
    return nn.Parameter(value.clone())


def move(p: nn.Parameter, by: Tensor) -> None:
    with torch.no_grad():
        p.add_(by)


def observe(importance: Importance, **observed: tuple[nn.Parameter, Tensor]) -> None:
    for p, gradient in observed.values():
        p.grad = gradient.clone()
    importance.observe([(name, p) for name, (p, _) in observed.items()])


def path(importance: Importance) -> nn.Parameter:
    """The path of G5: calls at theta_0, theta_0 + d1, theta_0 + d1 + d2."""
    p = parameter(THETA)
    importance.start([("w", p)])
    for step, gradient in ((0 * D1, G1), (D1, G2), (D2, G3)):
        move(p, step)
        observe(importance, w=(p, gradient))
    return p


def penalty(importance: Importance, value: Tensor = NOW) -> float:
    """The penalty at `value` of a step that began at theta_0."""
    importance.start([("w", parameter(THETA))])
    return importance.penalty([("w", parameter(value))]).item()


def following(importance: Importance, previous: dict[str, Tensor]) -> Importance:
    importance.load_state_dict(previous, resumed=False)
    return importance


def ewc_after_two() -> EWC:
    importance, p = EWC(), parameter(THETA)
    observe(importance, w=(p, G1))
    observe(importance, w=(p, G2))
    return importance


def test_G1_min_max() -> None:
    assert min_max(torch.tensor([1.0, 3.0, 2.0], dtype=torch.float64)).tolist() == near(0, 1, 0.5)


def test_G2_ewc_statistics() -> None:
    importance, p = EWC(), parameter(THETA)
    observe(importance, w=(p, G1))
    assert importance.state_dict()["fisher/w"].tolist() == near(0.30686396, 0.93559994, 0.77061737)
    observe(importance, w=(p, G2))
    assert importance.state_dict()["fisher/w"].tolist() == near(0.03965644, 0.92915993, 0.39941375)


def test_G3_ewc_penalty() -> None:
    state = ewc_after_two().state_dict()
    importance = following(EWC(), state)
    assert importance.state_dict()["weight/w"].tolist() == near(0, 0.99999999, 0.40444733)
    assert penalty(importance) == near(0.076400259)
    assert 100 * penalty(importance) == near(7.6400259)
    assert 500 * penalty(importance) == near(38.200130)
    assert penalty(following(EWC(normalise=False), state)) == near(0.073510199)


def test_G4_ewc_next_step_continues_from_the_raw_statistics() -> None:
    importance = following(EWC(), ewc_after_two().state_dict())
    observe(importance, w=(parameter(THETA), G3), new=(parameter(torch.zeros(2).double()), S((2,), 0.3, 0.7)))
    state = importance.state_dict()
    assert state["fisher/w"].tolist() == near(0.55620659, 0.98841262, 0.71055874)
    assert state["fisher/new"].tolist() == near(0.47351479, 0.73726608)


def test_G5_path_integral() -> None:
    importance = PathIntegral()
    path(importance)
    state = importance.state_dict()
    assert state["omega/w"].tolist() == near(-0.01466820, -0.00929621, 0.03521835)
    assert state["score/w"].tolist() == near(0, 0, 14.087341)


PREVIOUS = {"score/w": torch.tensor([0.5, 2, 1], dtype=torch.float64)}


def test_G6_path_integral_penalty() -> None:
    assert penalty(following(PathIntegral(), PREVIOUS)) == near(0.07)
    assert penalty(following(PathIntegral(normalise=False), PREVIOUS)) == near(0.175)


def test_G7_path_integral_second_step() -> None:
    importance = following(PathIntegral(), PREVIOUS)
    w, new = parameter(THETA), parameter(S((2,), 0.4, 0.2))
    importance.start([("w", w), ("new", new)])
    move(w, NOW - THETA)
    observe(importance, w=(w, G1), new=(new, S((2,), 0.3, 0.7)))
    move(w, D1)
    move(new, torch.tensor([0.01, -0.02], dtype=torch.float64))
    observe(importance, w=(w, G2), new=(new, S((2,), 0.9, 0.2)))
    state = importance.state_dict()
    assert state["score/w"].tolist() == near(0.62325113, 2, 1.2462848)
    assert state["score/new"].tolist() == near(0, 44.560368)


def test_G8_riemannian_walk() -> None:
    importance, p = RiemannianWalk(interval=1), parameter(THETA)
    observe(importance, w=(p, G1))
    move(p, D1)
    observe(importance, w=(p, G2))
    assert importance.state_dict()["path/w"].tolist() == near(65.024509, -102.98277, 51.772766)
    move(p, D2)
    observe(importance, w=(p, G3))
    state = importance.state_dict()
    assert state["path/w"].tolist() == near(-1907.7713, 111.68003, 267.86480)
    assert state["fisher/w"].tolist() == near(0.55620659, 0.98841262, 0.71055874)
    assert state["score/w"].tolist() == near(0, 111.68003, 267.86480)


def test_G9_riemannian_walk_next_step() -> None:
    first = RiemannianWalk(interval=1)
    path(first)
    importance = following(RiemannianWalk(interval=1), first.state_dict())
    assert importance.state_dict()["weight/w"].tolist() == near(0, 1.4169268, 1.3571263)
    assert penalty(importance) == near(0.17881844)
    observe(importance, w=(parameter(THETA), G1))
    state = importance.state_dict()
    assert state["path/w"].tolist() == [0, 0, 0]
    assert state["score/w"].tolist() == near(0, 55.840013, 133.93240)


def test_G10_riemannian_walk_every_second_call() -> None:
    importance = RiemannianWalk(interval=2)
    path(importance)
    assert importance.state_dict()["path/w"].tolist() == near(-3930.7424, -214.66279, 86.445904)


KINDS = [EWC, PathIntegral, lambda: RiemannianWalk(interval=2)]


@pytest.mark.parametrize("make", KINDS)
def test_a_resumed_step_ends_like_an_uninterrupted_one(make, tmp_path: Path) -> None:
    first = make()
    path(first)
    through, p = following(make(), first.state_dict()), parameter(NOW)
    through.start([("w", p)])
    observe(through, w=(p, G1))
    save_file(through.state_dict(), tmp_path / "state.safetensors")
    resumed = make()
    resumed.load_state_dict(load_file(tmp_path / "state.safetensors"), resumed=True)
    for step, gradient in ((D1, G2), (D2, G3)):
        move(p, step)
        values = []
        for importance in (through, resumed):
            observe(importance, w=(p, gradient))
            values.append(importance.penalty([("w", p)]).item())
        assert values[0] == values[1] > 0
    ends = through.state_dict(), resumed.state_dict()
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])


@pytest.mark.parametrize("make", KINDS)
def test_first_step_has_no_penalty_and_frozen_parameters_are_left_out(make) -> None:
    importance, free, frozen = make(), parameter(THETA), parameter(THETA)
    frozen.requires_grad_(False)
    named = [("free", free), ("frozen", frozen)]
    free.grad = G1.clone()
    importance.observe(named)
    assert importance.penalty(named).item() == 0
    assert not [key for key in importance.state_dict() if key.endswith("/frozen")]


@pytest.mark.parametrize("make", KINDS)
def test_a_missing_gradient_counts_as_zero(make) -> None:
    without, zero = make(), make()
    p = parameter(THETA)
    without.observe([("w", p)])
    observe(zero, w=(p, torch.zeros(3).double()))
    a, b = without.state_dict(), zero.state_dict()
    assert all(torch.equal(a[key], b[key]) for key in b)


def test_penalty_pulls_parameters_back() -> None:
    importance = following(EWC(), ewc_after_two().state_dict())
    importance.start([("w", parameter(THETA))])
    p = parameter(NOW)
    importance.penalty([("w", p)]).backward()
    expected = 2 * importance.state_dict()["weight/w"] * (NOW - THETA)
    assert p.grad.tolist() == near(*expected.tolist())


def test_score_uses_the_weights_after_the_last_update() -> None:
    importance = PathIntegral()
    p = path(importance)
    before = importance.state_dict()["score/w"]
    move(p, D1)
    omega = importance.state_dict()["omega/w"]
    expected = (omega / ((2 * D1 + D2).square() + 1e-20)).clamp(min=0)
    after = importance.state_dict()["score/w"]
    assert torch.allclose(after, expected) and not torch.allclose(after, before)
