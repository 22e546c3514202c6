"""Section 7 of assembled_methods.md: whole steps of three or four iterations, trained by the engine itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from pipeline.methods import Batch
from tests.golden.assembled_inputs import norm, s
from tests.golden.assembled_table import Entry, rows
from tests.golden.inputs import L, S, near_single
from tests.methods import calling
from tests.train.tiny import Batches, Run, Seen, tiny_model

pytestmark = pytest.mark.usefixtures("one_thread")

SSUL_MASKS = (0, 0, 0, 17, 20, 255)
WEB_LABELS = (
    ([0, 0, 0, 1, 0], [0, 1, 0, 0, 0]),
    ([0, 0, 0, 1, 1], [1, 0, 0, 0, 0]),
    ([0, 0, 0, 0, 1], [0, 0, 1, 0, 0]),
    ([0, 0, 0, 1, 1], [0, 0, 0, 1, 0]),
)


def images(i: int) -> Tensor:
    return s(1, (2, 3, 16, 16), 0.13, 0.4 + i)


def pixel_batches(n: int = 3, **labels: Any) -> Batches:
    return Batches([calling.batch(images(i), L((2, 16, 16), shift=2 * i, **labels)) for i in range(n)])


def started(run: Run) -> Run:
    run.method.init_classifier(run.model)
    return run


def usual(name: str, folder: Path, **values: Any) -> Run:
    """Student (3, 1, 2), teacher (3, 1) with other weights, after the method's initialisation."""
    method, teacher = calling.built(name, values), tiny_model((3, 1), 0.2)
    kept = teacher if method.needs_teacher else None
    return started(Run(method, tiny_model((3, 1, 2)), kept, pixel_batches(), folder / name))


def wilson(folder: Path, decay: float, name: str = "wilson", **values: Any) -> Run:
    """Four batches of image labels in two epochs, and a localizer of width 4."""
    run = usual(name, folder, localizer_width=4, lr_head=10, lr_localizer=0.01, **values)
    found = [
        calling.batch(images(i), torch.zeros(2, 16, 16, dtype=torch.int64), torch.tensor(labels).float())
        for i, labels in enumerate(WEB_LABELS)
    ]
    run.source, run.epochs, run.iterations, run.weight_decay = Batches(found), 2, 4, decay
    return run


def ssul(folder: Path, rules: str = "original") -> Run:
    """VOC 15-5 step 1, with norms that have statistics to keep."""
    method, kind = calling.built("ssul", {"ssul": rules}, calling.info((16, 5))), {"original": "conv", "sats": "linear"}
    model, teacher = (tiny_model(heads, kind=kind[rules], ssul=True) for heads in ((1, 1, 15, 5), (1, 1, 15)))
    for norm_layer in (m for net in (model, teacher) for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
        norm_layer.running_mean.copy_(0.1 * S((norm_layer.num_features,), 0.5, 0.3))
        norm_layer.running_var.copy_(1 + 0.2 * S((norm_layer.num_features,), 0.4, 0.1))
    found: list[Batch] = []
    for i in range(3):
        saliency = ((torch.arange(2 * 16 * 16) // 5 + i) % 2).view(2, 16, 16)
        masks = L((2, 16, 16), SSUL_MASKS, 2 * i)
        found.append(calling.batch(images(i), masks, saliency=saliency, n_classes=20))
    return started(Run(method, model, teacher, Batches(found), folder / "ssul", weight_decay=1e-4))


def importance(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Run, dict[str, Any]]:
    """The base step with its statistics, then the step that takes them over."""
    base = calling.built("recipe ce_importance", facts=calling.info((4,)))
    trained = tiny_model((3, 1), 0.2)
    old_labels = pixel_batches(values=(0, 0, 0, 1, 2, 255))
    before = Run(base, trained, None, old_labels, folder / "base")
    terms = before.go(monkeypatch).terms
    model = tiny_model((3, 1, 2))
    model.load_state_dict(trained.state_dict(), strict=False)
    method = calling.built(name, {"weight": 50.0})
    method.load_state(load_file(before.folder / "method_state.safetensors"), resumed=False)
    return Run(method, model, None, pixel_batches(), folder / name), {"base_ce": [t["ce"] for t in terms]}


RUNS: dict[str, Callable[[Path], Run]] = {
    "W-dft-1": lambda folder: usual("dft", folder),
    "W-ft-1": lambda folder: usual("ft", folder),
    "W-joint-1": lambda folder: usual("joint", folder),
    "W-lwf-1": lambda folder: usual("lwf", folder, weight=5.0),
    "W-mib-1": lambda folder: usual("mib", folder),
    "W-plop-1": lambda folder: usual("plop", folder),
    "W-ssul-1": ssul,
    "W-wilson-1": lambda folder: wilson(folder, 0.0, pseudo_epoch=1),
    "W-wilson-2": lambda folder: wilson(folder, 0.01, pseudo_epoch=0),
    "W-wilson-3": lambda folder: wilson(folder, 0.1, pseudo_epoch=1),
}


@rows("whole_step")
def test_assembled_whole_step(entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[str, Any] = {}
    name = entry.id.split("-")[1]
    if name in ("ewc", "pi"):
        run, found = importance(name, tmp_path, monkeypatch)
    else:
        run = RUNS[entry.id](tmp_path)
    frozen = frozen_norms(run) if name == "ssul" else {}
    seen = run.go(monkeypatch)
    found |= {key: [terms[key] for terms in seen.terms if key in terms] for key in seen.terms[-1]}
    found |= norms_of(run, seen)
    if name in ("ewc", "pi"):
        found["state"] = [handed_over(name, run.method.state())]
    expected = values_of(entry)
    assert found.keys() == expected.keys()
    near = {key: pytest.approx(value, rel=1e-5, abs=1e-6) for key, value in expected.items()}
    wrong = {key: (found[key], value) for key, value in expected.items() if found[key] != near[key]}
    assert not wrong, f"found and expected: {wrong}"
    assert all(torch.equal(value, run.model.state_dict()[key]) for key, value in frozen.items())
    if name == "plop":
        thresholds = (0.001, 0.00899371, 0.07875, 0.001, 0.001, 0.001)
        assert run.method.state()["thresholds"].tolist() == near_single(*thresholds)


def norms_of(run: Run, seen: Seen) -> dict[str, list[float]]:
    """Return the norms of weights, statistics and gradients by part."""
    parts = {"body": run.model.body, "head": run.model.head}
    parts |= {f"cls{i}": classifier for i, classifier in enumerate(run.model.classifiers)}
    parts |= {"localizer": seen.extra} if seen.extra is not None else {}
    found = {f"w_{key}": [joint(part.parameters())] for key, part in parts.items()}
    buffers = [b for key, b in run.model.named_buffers() if key.endswith(("running_mean", "running_var"))]
    found["w_statistics"] = [joint(buffers)]
    return found | {f"g_{key}": [joint(p.grad for p in part.parameters())] for key, part in parts.items()}


def joint(tensors: Any) -> float:
    return sum(norm(t.detach() if t is not None else None) ** 2 for t in tensors) ** 0.5


def handed_over(name: str, state: dict[str, Tensor]) -> float:
    prefix = "ewc/fisher/" if name == "ewc" else "pi/score/classifiers."
    return joint(v for key, v in state.items() if key.startswith(prefix) and not key.startswith(prefix + "0"))


def frozen_norms(run: Run) -> dict[str, Tensor]:
    """Return what SSUL may not move: every norm's statistics and parameters."""
    names = [key for key, m in run.model.named_modules() if isinstance(m, nn.BatchNorm2d)]
    return {k: v.clone() for k, v in run.model.state_dict().items() if k.rsplit(".", 1)[0] in names}


def values_of(entry: Entry) -> dict[str, list[float]]:
    """Return `name 1, 2, 3; name 4, ...; w_body 5, w_head 6` as lists."""
    found: dict[str, list[float]] = {}
    for word in re.sub(r" \(from 3\)|[,;]", "", entry.values).split():
        if word[0].isalpha():
            numbers = found.setdefault(word, [])
        else:
            numbers.append(float(word))
    return found
