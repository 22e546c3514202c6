"""Sections 2 to 6 and the presets of assembled_methods.md: what a method does to one batch, at its start and end."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.methods import Batch, Method
from tests.golden.assembled_inputs import called, norm, s, settings_in
from tests.golden.assembled_table import Entry, rows
from tests.golden.inputs import L, S, assert_row, near_single
from tests.methods import calling
from tests.train.tiny import tiny_model

pytestmark = pytest.mark.usefixtures("one_thread")


@rows("losses")
def test_assembled_losses(entry: Entry) -> None:
    assert_row(called(entry), entry.numbers())


# Section 3.


def calibration_batches(large: bool) -> list[tuple[Batch, Tensor]]:
    """Return three batches with the teacher's logits for each."""
    found = []
    for i in range(3):
        logits = (1 + i) * S((2, 4, 6, 6), 0.31, 0.2 + i)
        logits[:, 3] -= 9 if large else 3 - i
        masks = L((2, 132, 132), (0, 0, 0, 0, 5, 255), i) if large else L((2, 12, 12), shift=i)
        found.append((calling.batch(torch.zeros(2, 3, *masks.shape[-2:]), masks), logits.float()))
    return found


@rows("thresholds")
def test_assembled_thresholds(entry: Entry) -> None:
    method = calling.built(entry.what.lower(), settings_in(entry.situation))
    pairs = calibration_batches(large="large" in entry.situation)
    answers = iter([calling.output(logits) for _, logits in pairs])
    method.calibrate([batch for batch, _ in pairs], lambda images: next(answers))  # type: ignore[arg-type,return-value]
    expected = [float(word) for word in entry.values.split(", ")]
    assert method.state()["thresholds"].tolist() == near_single(*expected)


# Section 4.


def model_to_initialise() -> Any:
    model = tiny_model((3, 1, 2))
    with torch.no_grad():
        for i, classifier in enumerate(model.classifiers):
            classifier.weight.copy_(S(classifier.weight.shape, 0.9, 0.1 + i))
            classifier.bias.copy_(S(classifier.bias.shape, 0.5, 0.2 + i))
    return model


@rows("initialisation")
def test_assembled_initialisation(entry: Entry) -> None:
    name, model = entry.id.split("-")[1], model_to_initialise()
    method = calling.built(name, {"init_balanced": False} if entry.id == "I-mib-2" else {})
    method.init_classifier(model)
    tensors, learning = entry.values.rsplit("; tensors that learn ", 1)
    for told in tensors.split("; "):
        words, _, values = told.partition(": ")
        kind, index = words.split(" of ")
        found = getattr(model.classifiers[int(index)], kind).flatten().tolist()
        assert found == pytest.approx([float(value) for value in values.split(", ")], rel=1e-5, abs=1e-6), words
    assert sum(p.requires_grad for p in model.parameters()) == int(learning)


# Section 5.


def moved(named: list[tuple[str, nn.Parameter]], i: int, phase: float) -> None:
    """Give every parameter the gradient of iteration i."""
    for n, (_, parameter) in enumerate(named):
        parameter.grad = s(1, tuple(parameter.shape), 0.8, phase + n + 0.7 * i)


def base_statistics(parameters: list[tuple[str, nn.Parameter]]) -> dict[str, Tensor]:
    """Return what the base step hands over, with the parameters left at their last values."""
    recipe = calling.built("recipe ce_importance", facts=calling.info((4,)))
    for i in range(12):
        for n, (_, p) in enumerate(parameters):
            shape = tuple(p.shape)
            p.data = (S(shape, 0.5, 0.1 + n) + 0.3 * i * S(shape, 0.9, 0.4 + n + i)).float()
        moved(parameters, i, 2)
        recipe.observe(parameters)
        assert recipe.penalty(parameters) is None, "there is no penalty at step 0"
    return recipe.state()


def penalties(method: Method, named: list[tuple[str, nn.Parameter]]) -> dict[str, float]:
    found = {}
    for i in range(3):
        for n, (_, p) in enumerate(named):
            if i:
                p.data = p.data + s(0.2, tuple(p.shape), 0.9, 0.4 + n + i)
        moved(named, i, 5)
        method.observe(named)
        for _, p in named:
            p.grad = None
        penalty = method.penalty(named)
        assert penalty is not None
        if penalty.requires_grad:
            penalty.backward()
        found[f"penalty_{i}"] = float(penalty.detach())
        found |= {f"d_{name}_{i}": norm(p.grad) for name, p in named if name != "cls1"}
        assert norm(named[2][1].grad) == 0, "a new classifier is never penalised"
    return found


@rows("importance")
def test_assembled_importance(entry: Entry) -> None:
    parameters = [("body", nn.Parameter(torch.zeros(2, 3))), ("cls0", nn.Parameter(torch.zeros(4)))]
    state = base_statistics(parameters)
    name = entry.id.split("-")[1]
    values = settings_in(entry.what) | ({"normalise": False} if "no normalisation" in entry.what else {})
    method = calling.built(name, values, calling.info((4, 3)))
    method.load_state(state, resumed=False)
    found = penalties(method, [*parameters, ("cls1", nn.Parameter(S((3,), 0.5, 0.7).float()))])
    expected = entry.numbers()
    base = {key: norm(state[f"{name}/{key[5:].replace('_', '/')}"]) for key in expected if key.startswith("base")}
    assert_row(base | found, expected)


# Section 6.


DECISIONS = {
    "D-ssul-1": [("ssul", {}), ("recipe ssul", {})],
    "D-ssul-2": [("ssul", {"ssul": "sats"}), ("recipe ssul_sats", {})],
    "D-mib-1": [
        *((name, {}) for name in ("ft", "lwf", "lwf_mc", "ilt", "ewc", "pi", "rw", "mib", "plop", "sats", "joint")),
        *((name, {}) for name in ("dft", "wilson", "web_wilss")),
        *((f"recipe {name}", {}) for name in ("ce", "ce_importance", "bce")),
    ],
}


@rows("decision")
def test_assembled_decision(entry: Entry) -> None:
    logits = s(2, (1, 7, 3, 4), 0.9, 0.2)
    expected = [int(word) for word in entry.values.split(": ")[-1].split(" ")]
    for name, values in DECISIONS[entry.id]:
        method = calling.built(name, values)
        assert method.decode(logits).flatten().tolist() == expected, name


# Section 8.


@rows("preset")
def test_assembled_preset(entry: Entry) -> None:
    method, *context = entry.what.split(" ")
    settings = calling.settings(method, {}, context)
    found = {key: float(getattr(settings, calling.named(method, key))) for key in entry.numbers()}
    assert found == entry.numbers()
