"""Inputs of assembled_methods.md section 1, the cases P, Q, T, C, U and W, and how section 2 calls a method."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.methods import Batch
from pipeline.models.network import Output
from tests.golden.assembled_table import Entry
from tests.golden.inputs import L, S
from tests.methods import calling

F32 = torch.float32
MASK = (0, 0, 0, 4, 5, 255)
OLD = (0, 0, 2, 4, 5, 255)
THRESHOLDS = (0.10, 0.07, 0.11, 0.09, 0.001, 0.001)
LABELS = ([0, 0, 0, 1, 0], [0, 0, 0, 1, 1], [0, 1, 0, 0, 0])


def s(scale: float, shape: tuple[int, ...], a: float, b: float) -> Tensor:
    """Return scale * S, computed in double precision, as float32."""
    return (scale * S(shape, a, b)).to(F32)


@dataclass
class Case:
    """Constructed outputs of student and teacher, and the batch."""

    student: Output
    teacher: Output
    batch: Batch
    outputs: tuple[int, ...] = (3, 1, 2)
    localizer: nn.Module | None = None
    watched: dict[str, Tensor] = field(default_factory=dict)
    """The tensors of the student whose gradients a row names."""


def _case(student: Output, teacher: Output, batch: Batch, **rest: Any) -> Case:
    watched = {"logits": student.logits, "body": student.body}
    watched |= {f"map{i}": x for i, x in enumerate(student.maps)}
    watched |= {f"attention{i}": x for i, x in enumerate(student.attention)}
    watched |= rest.pop("watched", {})
    for tensor in watched.values():
        tensor.requires_grad_(True)
    return Case(student, teacher, batch, watched=watched, **rest)


def _images(height: int, width: int) -> Tensor:
    return s(1, (3, 3, height, width), 0.11, 0.3)


def case_p(masks: tuple[int, ...] = MASK) -> Case:
    student = calling.output(s(2, (3, 6, 6, 8), 0.37, 0.1), s(1, (3, 5, 6, 8), 0.23, 0.2))
    teacher = calling.output(s(2, (3, 4, 6, 8), 0.29, 0.5), s(1, (3, 5, 6, 8), 0.21, 0.4))
    return _case(student, teacher, calling.batch(_images(12, 16), L((3, 12, 16), masks)))


def case_q(masks: tuple[int, ...] = MASK) -> Case:
    shapes = [(3, 2, 9, 9), (3, 3, 7, 7), (3, 4, 5, 5)]
    maps = [s(1, shape, 0.41, 0.3 + i) for i, shape in enumerate(shapes)]
    taught = [s(1, shape, 0.39, 0.2 + i) for i, shape in enumerate(shapes)]
    student = calling.output(s(2, (3, 6, 5, 5), 0.37, 0.1), s(1, (3, 4, 5, 5), 0.23, 0.2), maps)
    teacher = calling.output(s(2, (3, 4, 5, 5), 0.29, 0.5), s(1, (3, 4, 5, 5), 0.21, 0.4), taught)
    return _case(student, teacher, calling.batch(_images(12, 12), L((3, 12, 12), masks)))


def case_t(masks: tuple[int, ...] = MASK) -> Case:
    def attention(a: float, b: float) -> list[Tensor]:
        sides = zip((8, 4, 2, 2), (1, 2, 3, 2), strict=True)
        return [s(1.5, (3, h, g * g, 3), a, b + i).softmax(dim=-1) for i, (g, h) in enumerate(sides)]

    student = calling.output(s(2, (3, 6, 4, 4), 0.37, 0.1), attention=attention(0.57, 0.1))
    teacher = calling.output(s(2, (3, 4, 4, 4), 0.29, 0.5), attention=attention(0.51, 0.2))
    return _case(student, teacher, calling.batch(_images(16, 16), L((3, 16, 16), masks)))


def case_c(masks: tuple[int, ...] = MASK) -> Case:
    def maps(a: float, b: float) -> list[Tensor]:
        shapes = zip((8, 4, 2, 2, 2), (2, 3, 4, 5, 4), strict=True)
        return [s(1, (3, c, k, k), a, b + i) for i, (k, c) in enumerate(shapes)]

    t = case_t(masks)
    student = calling.output(t.student.logits.detach(), maps=maps(0.41, 0.3))
    return _case(student, calling.output(t.teacher.logits, maps=maps(0.39, 0.2)), t.batch)


def case_u(masks: tuple[int, ...] = MASK) -> Case:
    student = calling.output(s(2, (3, 7, 6, 8), 0.37, 0.1))
    teacher = calling.output(s(1.2, (3, 5, 6, 8), 0.29, 0.5))
    saliency = (torch.arange(3 * 12 * 16) // 5 % 2).view(3, 12, 16)
    batch = calling.batch(_images(12, 16), L((3, 12, 16), masks), saliency=saliency)
    return _case(student, teacher, batch, outputs=(4, 2))


class TwoAnswers(nn.Module):
    """A localizer that answers one tensor in training mode and another in evaluation mode."""

    def __init__(self, training: Tensor, evaluation: Tensor) -> None:
        super().__init__()
        self.answers = {True: training, False: evaluation}

    def forward(self, features: Tensor) -> Tensor:
        return self.answers[self.training]


def case_w(labels: tuple[list[int], ...] = LABELS, roles: list[str] | None = None) -> Case:
    offset = torch.cat([torch.full((3, 1), 0.64), 0.8 * torch.tensor(labels).float()], dim=1)
    offset[1, 5] = -3
    z_e, z_t = (s(3, (3, 6, 6, 8), 0.53, b) + offset[:, :, None, None] for b in (0.2, 0.6))
    p = case_p()
    student = calling.output(p.student.logits.detach(), p.student.body.detach())
    batch = calling.batch(_images(24, 32), torch.zeros(3, 24, 32, dtype=torch.int64), torch.tensor(labels).float())
    batch = replace(batch, roles=tuple(roles)) if roles else batch
    return _case(student, p.teacher, batch, localizer=TwoAnswers(z_t, z_e), watched={"localizer": z_t})


CASES = {"P": case_p, "Q": case_q, "T": case_t, "C": case_c, "U": case_u, "W": case_w}
_LABEL_ROW = re.compile(r"third label \[(.*?)\]")


def called(entry: Entry) -> dict[str, float]:
    """Return the terms, total and gradient norms of a row of section 2."""
    letter, name = entry.what.split(" ", 1)
    case, values, epoch = _situation(letter, entry.situation)
    thresholds = values.pop("τ", THRESHOLDS)
    method = calling.built(name, values, calling.info(case.outputs))
    if case.localizer is not None:
        method.localizer = case.localizer  # type: ignore[attr-defined]
    if "thresholds" in method.state():
        method.load_state({"thresholds": torch.tensor(thresholds)}, resumed=True)
    teacher = None if "no teacher" in entry.situation else case.teacher
    terms = calling.losses(method, case.batch, case.student, teacher, epoch)
    total = torch.stack(list(terms.values())).sum()
    total.backward()
    found = {key: float(term.detach()) for key, term in {**terms, "total": total}.items()}
    wanted = [key for key in entry.numbers() if key.startswith("d_")]
    return found | {key: norm(case.watched[key.removeprefix("d_")].grad) for key in wanted}


def norm(gradient: Tensor | None) -> float:
    """Return the L2 norm, 0 of none."""
    return 0.0 if gradient is None else float(gradient.double().norm())


def _situation(letter: str, text: str) -> tuple[Case, dict[str, Any], int]:
    """Return the case, the settings and the epoch that a row's words ask for."""
    arguments: dict[str, Any] = {}
    if found := re.search(r"T = \((.*?)\)", text):
        arguments["masks"] = tuple(map(int, found[1].split(",")))
    if "masks old" in text:
        arguments["masks"] = OLD
    if found := _LABEL_ROW.search(text):
        arguments["labels"] = (*LABELS[:2], [int(x) for x in found[1].split(",")])
    if "roles web, web, replay" in text:
        arguments["roles"] = ["web", "web", "replay"]
    case = CASES[letter](**arguments)
    if "second image `memory`" in text:
        case.batch = replace(case.batch, roles=("dataset", "memory", "dataset"))
    if "no saliency" in text:
        case.batch = replace(case.batch, saliency=None)
    epoch = re.search(r"\bepoch (\d)", re.sub(r"pseudo_epoch \d", "", text))
    return case, settings_in(text), int(epoch[1]) if epoch else 0


def settings_in(text: str) -> dict[str, Any]:
    """Return the settings that a row's words name; `τ` holds thresholds."""
    values: dict[str, Any] = {}
    if found := re.search(r"τ = \((.*?)\)", text):
        values["τ"] = tuple(map(float, found[1].split(", ")))
    if "τ₂ = ∞" in text:
        values["τ"] = (*THRESHOLDS[:2], math.inf, *THRESHOLDS[3:])
    known = (
        r"\b([a-z][a-z_]+) (-?[\d.]+(?:e-\d+)?|True|False|trim|overwrite|legacy|GP|NP|disjoint|sum|exact|sats|att|mean)"
    )
    for key, value in re.findall(known + r"(?=,|$)", text):
        if key != "epoch":
            values[key] = _plain(value)
    return values


def _plain(value: str) -> Any:
    if value in ("True", "False"):
        return value == "True"
    number = re.fullmatch(r"-?[\d.]+(e-\d+)?", value)
    return value if not number else float(value) if "." in value or "e" in value else int(value)
