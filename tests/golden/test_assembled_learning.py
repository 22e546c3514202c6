"""Section 8 of assembled_methods.md: what learns and how fast, schedules, and what every method asks for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.config import Train
from pipeline.methods import get, names
from pipeline.methods.recipes import get_recipe
from pipeline.train.schedules import warm_poly
from tests.golden.assembled_table import Entry, entries, rows
from tests.golden.inputs import near_single
from tests.golden.test_assembled_steps import importance, ssul, usual, wilson
from tests.methods import calling
from tests.train.tiny import Batches, Run, Seen, tiny_model

pytestmark = pytest.mark.usefixtures("one_thread")

LR = 0.02
ALL_AT_ONE = {"body": (1, 6), "head": (1, 3), "cls0": (1, 2), "cls1": (1, 2), "cls2": (1, 2)}
WEAK = {"body": (1, 6), "head": (10, 3), "cls0": (10, 2), "cls1": (10, 2), "cls2": (10, 2), "localizer": (0.5, 8)}
GROUPS: dict[str, dict[str, tuple[float, int]]] = {
    # Rate as a multiple of the phase's, and number of tensors that learn, by part.
    "G-joint-1": {part: (10, count) for part, (_, count) in ALL_AT_ONE.items()},
    "G-dft-1": {"cls2": (1, 2)},
    "G-wilson-1": WEAK,
    "G-web_wilss-1": WEAK,
    "G-ssul-1": {"cls3": (1, 3), "cls0": (1, 3), "cls1": (1e-4, 3)},
    "G-ssul-2": {"cls3": (1, 2), "cls0": (1, 2), "cls1": (1, 2)},
}


def run_of(entry: Entry, folder: Path, patch: pytest.MonkeyPatch) -> Run:
    name = entry.what
    if name == "ewc":
        return importance(name, folder, patch)[0]
    if name == "ssul":
        return ssul(folder, "original" if entry.id == "G-ssul-1" else "sats")
    if name in ("wilson", "web_wilss"):
        return wilson(folder, 1e-4, name)
    return usual(name, folder)


@rows("groups")
def test_assembled_groups(entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(entry, tmp_path, monkeypatch)
    run.lr, run.iterations, run.epochs, run.weight_decay = LR, 1, 1, 1e-4
    seen = run.go(monkeypatch)
    expected = GROUPS.get(entry.id, ALL_AT_ONE)
    found = learning(run, seen)
    assert found.keys() == expected.keys()
    for part, (rate, count) in expected.items():
        rates_found, tensors = found[part]
        assert sorted(rates_found) == pytest.approx([rate]) and tensors == count, part
    learn = int(entry.values.split(" | ")[-1].split(" + ")[0])
    assert sum(p.requires_grad for p in run.model.parameters()) == learn
    for group in seen.optimizer.param_groups:
        told = {key: group[key] for key in ("momentum", "nesterov", "weight_decay", "dampening", "maximize")}
        assert told == {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-4, "dampening": 0, "maximize": False}


def learning(run: Run, seen: Seen) -> dict[str, tuple[set[float], int]]:
    """Return, by part of the network, the rates of its parameters in the optimiser and how many there are."""
    parts: dict[str, nn.Module] = {"body": run.model.body, "head": run.model.head}
    parts |= {f"cls{i}": classifier for i, classifier in enumerate(run.model.classifiers)}
    parts |= {"localizer": seen.extra} if seen.extra is not None else {}
    part_of = {id(p): name for name, part in parts.items() for p in part.parameters()}
    found: dict[str, tuple[set[float], int]] = {}
    for group in seen.optimizer.param_groups:
        for p in group["params"]:
            rates, count = found.get(part_of[id(p)], (set(), 0))
            found[part_of[id(p)]] = (rates | {group["lr"] / LR}, count + p.requires_grad)
    return found


def test_rates_and_decay_of_the_configuration() -> None:
    assert (Train().momentum, Train().weight_decay) == (0.9, 1e-4)


# Schedules.


def rates(name: str, iterations: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[float], list[int]]:
    """Return the first group's factor and the epoch at every iteration of 8 epochs of 5 iterations."""
    run = {"ssul": ssul, "wilson": lambda f: wilson(f, 0.0)}.get(name, lambda f: usual(name, f))(folder)
    run.source = Batches([run.source.found[i % len(run.source.found)] for i in range(5)])
    run.epochs, run.iterations, run.lr = 8, iterations, 1e-4
    seen = run.go(monkeypatch)
    first = seen.optimizer.param_groups[0]["initial_lr"]
    return [rate[0] / first for rate in seen.optimizer.rates], seen.epochs


@pytest.mark.parametrize("entry", [e for e in entries("schedule") if e.id != "L-epoch"], ids=lambda e: e.id)
def test_assembled_schedule(entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    iterations = 20 if entry.id == "L-iterations" else 0
    found, _ = rates(entry.what, iterations, tmp_path, monkeypatch)
    assert len(found) == (iterations or 40)
    expected = {int(name.removeprefix("at")): value for name, value in entry.numbers().items()}
    assert [found[at] for at in expected] == near_single(*expected.values())


@pytest.mark.parametrize("entry", [e for e in entries("schedule") if e.id == "L-epoch"], ids=lambda e: e.id)
def test_assembled_epoch(entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for iterations, told in zip((0, 20), entry.values.split("; "), strict=True):
        _, epochs = rates("ft", iterations, tmp_path / str(iterations), monkeypatch)
        at, expected = ([int(word) for word in re.findall(r"\d+", part)][-6:] for part in told.split(" are epochs "))
        assert [epochs[i] for i in at] == expected


def test_warm_up_of_ssul_on_ade() -> None:
    found = [warm_poly(k, 100, 10) for k in (0, 5, 10, 50)]
    assert found == near_single(0.001, 0.4779201, 0.9095326, 0.5358867)


# What a method asks for.


def asked(what: str) -> str:
    """Return what a class says, as the table's row has it."""
    kind, _, name = what.rpartition(" ")
    if kind == "base":
        cls: Any = get_recipe(name)
        settings, recipe, outputs = None, "-", (4,)
    else:
        name, values = ("ssul", {"ssul": "sats"}) if what.startswith("ssul as") else (what, {})
        cls, settings, outputs = get(name), calling.settings(name, values), (4, 2)
        recipe = cls.recipe_for(settings)
    saliency = " ".join(yes(cls.wants_saliency(settings, dataset)) for dataset in ("voc", "ade"))
    heads = cls.heads(settings, outputs)
    told = f"{heads.kind} {' '.join(map(str, heads.sizes))}"
    return " | ".join((yes(cls.needs_teacher), recipe, cls.label_rule, cls.supervision, saliency, told))


def yes(answer: bool) -> str:
    return "yes" if answer else "no"


@rows("asks")
def test_assembled_asks(entry: Entry) -> None:
    assert asked(entry.what) == entry.values


def test_joint_alone_sees_every_step_and_wilson_alone_may_name_old_classes() -> None:
    assert {name for name in names() if get(name).sees == "all"} == {"joint"}
    assert not any(calling.built(name).all_labels for name in names())
    assert calling.built("wilson", {"all_labels": True}).all_labels


@pytest.mark.parametrize("name", names())
def test_training_mode_of_norms_and_dropout(name: str) -> None:
    """SSUL keeps its norms still and its dropout on (section 9); DFT and STAR keep the whole network still."""
    model = tiny_model((3, 1, 2))
    model.head.append(nn.Dropout(0.5))
    model.eval()
    calling.built(name).train_mode(model)
    norms = {m.training for m in model.modules() if isinstance(m, _BatchNorm)}
    assert norms == {name not in ("ssul", "dft", "star")}
    assert model.head[-1].training is (name not in ("dft", "star"))
