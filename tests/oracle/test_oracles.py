"""Every method against an oracle written from the specification's formulas: drawn inputs, both must agree."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor, nn

from pipeline.datasets.imagenet import MEAN, STD
from pipeline.methods import Batch, Method
from tests.methods import calling
from tests.oracle import ewc, ft, ilt, lwf, lwf_mc, mib, pi, plop, rw, sats, ssul, wilson
from tests.oracle.pixels import IGNORED, Array

FEW = settings(max_examples=12, deadline=None)
ROLES = ("dataset", "memory", "web", "replay")


@pytest.fixture(scope="module", autouse=True)
def few_threads() -> Iterator[None]:
    """Small tensors are faster on one thread; hypothesis wants a fixture that lasts."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass
class Drawn:
    """One batch with outputs of student and teacher, of drawn sizes."""

    n_old: int
    n_new: int
    y: Array
    labels: Array
    saliency: Array
    roles: tuple[str, ...]
    random: np.random.Generator

    @property
    def size(self) -> tuple[int, int, int]:
        """Images, rows and columns."""
        return self.y.shape  # type: ignore[return-value]

    def normal(self, *shape: int, scale: float = 2.0) -> Array:
        """Return normal numbers (B, *shape)."""
        return self.random.normal(scale=scale, size=(len(self.y), *shape))

    def logits(self, extra: int = 0) -> tuple[Array, Array]:
        """Return logits of student and teacher at the labels' size; `extra` channels more for SSUL."""
        side = self.size[1:]
        return self.normal(self.n_old + self.n_new + extra, *side), self.normal(self.n_old + extra, *side)

    def batch(self, images: Array | None = None, saliency: bool = True) -> Batch:
        """Return what a loss gets."""
        pixels = self.normal(3, *self.size[1:]) if images is None else images
        given_saliency = torch.tensor(self.saliency) if saliency else None
        labels = torch.tensor(self.labels, dtype=torch.float64)
        return calling.batch(torch.tensor(pixels), torch.tensor(self.y), labels, self.roles, given_saliency)

    def method(self, name: str, values: dict[str, Any] | None = None, base: bool = False) -> Method:
        """Return the method of this step."""
        return calling.built(name, values, calling.info((self.n_old,) if base else (self.n_old, self.n_new)))


@st.composite
def drawn(draw: st.DrawFn, square: bool = False, most_new: int = 3) -> Drawn:
    n_old, n_new = draw(st.integers(2, 4)), draw(st.integers(1, most_new))
    images, rows = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    size = (images, rows, rows if square else draw(st.integers(1, 5)))
    values = st.sampled_from([*range(n_old + n_new), 0, IGNORED])
    return Drawn(
        n_old,
        n_new,
        draw(arrays(np.int64, size, elements=values)),
        draw(arrays(np.int64, (images, n_old + n_new - 1), elements=st.integers(0, 1))),
        draw(arrays(np.int64, size, elements=st.integers(0, 1))),
        tuple(draw(st.lists(st.sampled_from(ROLES), min_size=images, max_size=images))),
        np.random.default_rng(draw(st.integers(0, 2**32 - 1))),
    )


def agree(
    method: Method, batch: Batch, expected: dict[str, float], student: dict[str, Any], teacher: dict[str, Any] | None
) -> None:
    """Compare the method's terms with the oracle's, by name."""
    outputs = [None if told is None else calling.output(**tensors(told)) for told in (student, teacher)]
    assert outputs[0] is not None
    found = calling.losses(method, batch, outputs[0], outputs[1], epoch=5)
    assert found.keys() == expected.keys()
    assert {k: float(v.detach()) for k, v in found.items()} == pytest.approx(expected, rel=2e-5, abs=2e-6)


def tensors(arrays_by_name: dict[str, Any]) -> dict[str, Any]:
    return {
        name: [torch.tensor(x) for x in value] if isinstance(value, list) else torch.tensor(value)
        for name, value in arrays_by_name.items()
    }


@pytest.mark.parametrize("name", ["ft", "joint", "dft", "ewc", "pi", "rw", "recipe ce", "recipe ce_importance"])
@FEW
@given(drawn())
def test_cross_entropy(name: str, d: Drawn) -> None:
    z, _ = d.logits()
    agree(d.method(name), d.batch(), ft.terms(z, d.y), {"logits": z}, None)


@FEW
@given(drawn())
def test_lwf(d: Drawn) -> None:
    z, old = d.logits()
    agree(d.method("lwf", {"weight": 3.0}), d.batch(), lwf.terms(z, old, d.y, 3.0), {"logits": z}, {"logits": old})


@FEW
@given(drawn(), st.sampled_from([-1.0, 0.0, 0.3, 1.0]))
def test_lwf_mc(d: Drawn, share: float) -> None:
    z, old = d.logits()
    given_outputs = {"logits": z}, {"logits": old}
    agree(d.method("lwf_mc", {"weight": 3.0}), d.batch(), lwf_mc.combined(z, old, d.y, 3.0), *given_outputs)
    method = d.method("lwf_mc", {"mode": "disjoint", "background": share})
    agree(method, d.batch(), lwf_mc.disjoint(z, old, d.y, share), *given_outputs)
    agree(d.method("recipe bce", base=True), d.batch(), {"bce": lwf_mc.summed(z, d.y)}, {"logits": z}, None)


@FEW
@given(drawn())
def test_ilt(d: Drawn) -> None:
    z, old = d.logits()
    body, old_body = d.normal(3, 2, 2), d.normal(3, 2, 2)
    expected = ilt.terms(z, old, d.y, body, old_body, 3.0, 7.0)
    method = d.method("ilt", {"weight": 3.0, "feature_weight": 7.0})
    agree(method, d.batch(), expected, {"logits": z, "body": body}, {"logits": old, "body": old_body})


@FEW
@given(drawn())
def test_mib(d: Drawn) -> None:
    z, old = d.logits()
    agree(d.method("mib", {"weight": 3.0}), d.batch(), mib.terms(z, old, d.y, 3.0), {"logits": z}, {"logits": old})


def limits_of(d: Drawn, method: Method) -> list[float]:
    """Draw thresholds near the uncertainties that occur, and give them to the method."""
    top = 1 / (d.n_old * np.log(d.n_old + d.n_new))
    limits = d.random.uniform(0, top, d.n_old + d.n_new)
    method.load_state({"thresholds": torch.tensor(limits)}, resumed=True)
    return limits.tolist()


def remembered(d: Drawn) -> list[bool]:
    return [role == "memory" for role in d.roles]


@FEW
@given(drawn(square=True), st.integers(1, 6))
def test_plop(d: Drawn, side: int) -> None:
    z, old = d.logits()
    maps, old_maps = ([d.normal(2, side, side), d.normal(3, 4, 4)] for _ in range(2))
    method = d.method("plop", {"pod_factor": 0.5, "logits_factor": 0.2})
    expected = plop.terms(z, old, d.y, maps, old_maps, limits_of(d, method), remembered(d), 0.5, 0.2)
    agree(method, d.batch(), expected, {"logits": z, "maps": maps}, {"logits": old, "maps": old_maps})


@FEW
@given(st.lists(drawn(most_new=1), min_size=1, max_size=3))
def test_thresholds(batches: list[Drawn]) -> None:
    first = batches[0]
    teacher = [batch.normal(first.n_old, *batch.size[1:], scale=1) for batch in batches]
    labels = [batch.y for batch in batches]
    for name, oracle in (("plop", plop), ("sats", sats)):
        answers = iter([calling.output(torch.tensor(old)) for old in teacher])
        method = first.method(name, {"threshold": 0.02})
        method.calibrate([batch.batch() for batch in batches], lambda images, a=answers: next(a))  # type: ignore[arg-type,misc]
        expected = oracle.thresholds(teacher, labels, first.n_old + first.n_new, 0.02)
        assert method.state()["thresholds"].tolist() == pytest.approx(expected, rel=1e-5)


@FEW
@given(drawn(square=True), st.booleans())
def test_sats(d: Drawn, attention: bool) -> None:
    z, old = d.logits()
    shapes = [(heads, side, side, 3) for heads, side in ((1, 3), (2, 2), (3, 2), (1, 1))]
    if not attention:
        shapes = [(1, side, side, channels) for side, channels in ((4, 2), (3, 3), (2, 1), (2, 2), (1, 3))]
    stages = [(d.normal(*shape), d.normal(*shape)) for shape in shapes]
    method = d.method("sats", {"weight": 2.0, "transfer_weight": 3.0, "feature_weight": 3.0, "exemplar_gt": "keep"})
    expected = sats.terms(z, old, d.y, stages, limits_of(d, method), remembered(d), 2.0, 3.0)

    def shown(x: Array) -> Array:
        flat = x.reshape(*x.shape[:2], -1, x.shape[-1])  # (B, h, L, K)
        return flat if attention else x[:, 0].transpose(0, 3, 1, 2)

    kind = "attention" if attention else "maps"
    student, teacher = ([shown(pair[k]) for pair in stages] for k in (0, 1))
    agree(method, d.batch(), expected, {"logits": z, kind: student}, {"logits": old, kind: teacher})


@FEW
@given(drawn(), st.booleans(), st.sampled_from([0.5, 0.7, 0.9]))
def test_ssul(d: Drawn, salient: bool, threshold: float) -> None:
    z, old = d.logits(extra=1)
    method, batch = d.method("ssul", {"threshold": threshold}), d.batch(saliency=salient)
    saliency = d.saliency if salient else None
    expected = ssul.terms(z, d.y, saliency, old, threshold)
    agree(method, batch, expected, {"logits": z}, {"logits": old})
    agree(d.method("recipe ssul"), batch, ssul.terms(z, d.y, saliency), {"logits": z}, None)
    assert np.array_equal(method.decode(torch.tensor(z)).numpy(), ssul.decision(z))


@FEW
@given(drawn())
def test_ssul_as_released_with_sats(d: Drawn) -> None:
    z, old = d.logits(extra=1)
    expected = ssul.released_with_sats(z, d.y, d.saliency, old, 0.6)
    agree(d.method("ssul", {"ssul": "sats", "threshold": 0.6}), d.batch(), expected, {"logits": z}, {"logits": old})
    base = ssul.released_with_sats(z, d.y, d.saliency)
    agree(d.method("recipe ssul_sats"), d.batch(), base, {"logits": z}, None)


class TwoAnswers(nn.Module):
    """A localizer that answers one tensor in training mode and another in evaluation mode."""

    def __init__(self, training: Tensor, evaluation: Tensor) -> None:
        super().__init__()
        self.answers = {True: training, False: evaluation}

    def forward(self, features: Tensor) -> Tensor:
        return self.answers[self.training]


@pytest.mark.parametrize("name", ["wilson", "web_wilss"])
@settings(max_examples=8, deadline=None)
@given(drawn(), st.sampled_from([0.0, 0.5, 1.0]), st.booleans())
def test_wilson(name: str, d: Drawn, alpha: float, pseudo: bool) -> None:
    p, old = d.logits()
    n = d.n_old + d.n_new
    offset = 3.0 * np.concatenate([np.ones((len(d.y), 1)), d.labels], axis=1)[:, :, None, None]
    z_train, z_eval = (d.normal(n, *d.size[1:]) + offset for _ in range(2))
    body, old_body, images = d.normal(3, 2, 2), d.normal(3, 2, 2), d.random.random((len(d.y), 3, *d.size[1:]))
    expected = wilson.terms(
        p, old, body, old_body, z_train, z_eval, images, d.labels.astype(float), d.n_new, alpha, pseudo
    )
    method = d.method(name, {"alpha": alpha, "pseudo_epoch": 5 if pseudo else 6})
    method.localizer = TwoAnswers(torch.tensor(z_train), torch.tensor(z_eval))  # type: ignore[attr-defined]
    mean, std = (np.array(x)[None, :, None, None] for x in (MEAN, STD))
    batch = d.batch((images - mean) / std)
    agree(method, batch, expected, {"logits": p, "body": body}, {"logits": old, "body": old_body})


ORACLES: dict[str, Any] = {"ewc": ewc, "pi": pi, "rw": rw}


@pytest.mark.parametrize("name", ORACLES)
@FEW
@given(st.integers(1, 25), st.integers(0, 2**32 - 1))
def test_importance(name: str, iterations: int, seed: int) -> None:
    assume(name != "pi" or iterations > 1)  # a path of one point has no length to divide by
    random = np.random.default_rng(seed)
    values, gradients = (random.normal(size=(iterations, 2, 3)) for _ in range(2))
    start, now = random.normal(size=(2, 2, 3))
    recipe = calling.built("recipe ce_importance", facts=calling.info((4,)))
    weight = nn.Parameter(torch.zeros(2, 3, dtype=torch.float64))
    for value, gradient in zip(values, gradients, strict=True):
        weight.data, weight.grad = torch.tensor(value), torch.tensor(gradient)
        recipe.observe([("body", weight)])
    method = calling.built(name, {"weight": 5.0}, calling.info((4, 1)))
    method.load_state(recipe.state(), resumed=False)
    weight.data = torch.tensor(start)
    method.observe([("body", weight)])
    weight.data = torch.tensor(now)
    told = (gradients,) if name == "ewc" else (values, gradients)
    found = method.penalty([("body", weight)])
    assert found is not None
    assert float(found.detach()) == pytest.approx(ORACLES[name].penalty(5.0, *told, start, now), rel=1e-5)


def test_oracles_import_nothing_of_what_they_check() -> None:
    files = [path for path in Path(__file__).parent.glob("*.py") if not path.name.startswith("test_")]
    assert len(files) >= 12
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] in ("pipeline", "torch") for name in names), path
