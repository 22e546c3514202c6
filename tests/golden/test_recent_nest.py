"""Checks N1-N9 of recent_methods.md 3.8: NeST."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.losses import unbiased_cross_entropy
from pipeline.methods import Batch, StepInfo, get, settings_of
from pipeline.methods.nest import MOMENTUM, WEIGHT_DECAY, tuning_loss
from pipeline.models import build_model
from pipeline.models.pretuning import CombinedClassifier, Selection, install
from tests.golden.inputs import S, near

W, B = S((3, 4), 0.9, 0.1), S((3,), 0.5, 0.2)
FEATURE, LABELS = S((1, 4, 2, 2), 0.4, 0.3), torch.tensor([[[0, 3], [4, 255]]])
START = S((2,), 0.6, 0.4)
IMPORTANCE = [
    [[0.155994, 0.132441, 0.170538, 0.170538], [0.118303, 0.197569, 0.106043, 0.121026],
     [0.485240, 0.338059, 0.208436, 0.333615]],
    [[0.279723] * 4, [0.354443, 0.354443, 0.354443, 0.018120], [0.302157, 0.302157, 0.302157, 0.034524]],
]  # fmt: skip


def selected(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    selection = Selection(W.to(dtype), B.to(dtype), 2, 4, "full")
    rows = [[3, 3, 0, 4], [3, 0, 4, 4], [255, 3, 0, 4], [0, 0, 255, 4]]
    selection.update(S((1, 4, 4, 4), 0.37, 0.3, dtype), torch.tensor([rows]))
    return selection.result()


def combined() -> CombinedClassifier:
    return CombinedClassifier(W, B, *selected(), START)


def tuned() -> CombinedClassifier:
    """After one step of SGD at a rate of 0.1."""
    module = combined()
    optimizer = torch.optim.SGD(
        module.parameters(), lr=0.1, momentum=MOMENTUM, nesterov=True, weight_decay=WEIGHT_DECAY
    )
    tuning_loss(module, FEATURE, LABELS, 3).backward()
    optimizer.step()
    return module


def installed(module: CombinedClassifier) -> nn.ModuleList:
    classifiers = nn.ModuleList([nn.Conv2d(4, 2, 1), nn.Conv2d(4, 1, 1), nn.Conv2d(4, 2, 1)]).double()
    with torch.no_grad():
        for classifier, rows in zip(classifiers[:2], (slice(0, 2), slice(2, 3)), strict=True):
            classifier.weight.copy_(W[rows, :, None, None])
            classifier.bias.copy_(B[rows])
    install(module, classifiers)
    return classifiers


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_XN1_importance(dtype: torch.dtype) -> None:
    found = selected(dtype)[0]
    for rows, expected in zip(found, IMPORTANCE, strict=True):
        for row, values in zip(rows, expected, strict=True):
            assert row.tolist() == pytest.approx(values, rel=1e-5, abs=1e-6)


def test_XN2_projection() -> None:
    found = selected()[1]
    assert found[0].tolist() == pytest.approx([0.24973129, 0.22902158, 0.52124713], rel=1e-5)
    assert found[1].tolist() == pytest.approx([0.35710706, 0.34398369, 0.29890925], rel=1e-5)


def test_XN3_logits() -> None:
    logits = combined()(FEATURE)[0]
    assert logits[3].flatten().tolist() == near(0.64164555, 0.64671113, 0.61115584, 0.54059307)
    assert logits[4].flatten().tolist() == near(0.85377434, 0.84562382, 0.83681766, 0.82874615)
    assert logits[0].flatten().tolist() == near(0.38237304, 0.00329226, -0.34494278, -0.60735342)
    plain = torch.einsum("od,dhw->ohw", W, FEATURE[0]) + B[:, None, None]
    assert torch.allclose(logits[:3], plain)


def test_XN4_loss() -> None:
    values = unbiased_cross_entropy(combined()(FEATURE), LABELS, 3, reduction="none")
    assert values.flatten().tolist() == near(0.26560401, 2.16563140, 1.77990437, 0)
    assert tuning_loss(combined(), FEATURE, LABELS, 3).item() == near(1.05278494)


def test_XN5_gradients() -> None:
    module = combined()
    tuning_loss(module, FEATURE, LABELS, 3).backward()
    names = ("importance", "projection", "bias", "background", "background_scale")
    gradients = {name: getattr(module, name).grad for name in names}
    norms = [gradients[name].norm().item() for name in names]
    assert norms == near(0.13165950, 0.11113445, 0.21422213, 0.02145227, 0.01109856)
    assert gradients["projection"][0].tolist() == near(0.00926353, 0.02459624, -0.09756511)
    assert gradients["bias"].tolist() == near(-0.16160843, -0.14061947)
    assert {name for name, _ in module.named_parameters()} == set(names), "nothing else learns"


def test_XN6_one_step() -> None:
    module = tuned()
    assert module.projection[0].tolist() == near(0.24796648, 0.22434394, 0.53977460)
    assert module.projection[1].tolist() == near(0.35114402, 0.34371254, 0.30536482)
    assert module.bias.tolist() == near(0.42011655, 0.86817270)
    assert module.background[0].tolist() == near(0.99961258, 0.99822721, 1.00358833, 1.00060461)
    assert module.background_scale.item() == near(1.00208973)


def test_XN7_final_initialisation() -> None:
    module = tuned()
    first, second, newest = installed(module)
    rows = newest.weight.flatten(1)
    assert rows[0].tolist() == near(1.63248037, 1.23038081, 0.42745251, -0.62242024)
    assert rows[1].tolist() == near(0.20057369, 0.37742372, 0.23423470, 0.20852597)
    assert newest.bias.tolist() == near(0.50105623, 1.03543491)
    background = first.weight[0].flatten()
    assert background.tolist() == near(0.09967762, 0.83899343, 0.94858116, 0.33479730)
    assert [background.norm().item(), W[0].norm().item()] == near(1.31367463, 1.31367463)
    assert first.bias[0].item() == near(0.19866933)
    old = torch.cat([first.weight, second.weight]).flatten(1).norm(dim=1).mean().item()
    assert [old, rows.norm(dim=1).mean().item()] == near(1.35466459, 1.35466459)
    factor = rows.norm(dim=1).mean() / module.new_weight().norm(dim=1).mean()
    assert factor.item() == pytest.approx(7.5265, abs=5e-5)
    assert torch.equal(first.weight[1].flatten(), W[1]) and torch.equal(second.weight[0].flatten(), W[2])


def test_XN8_without_tuning() -> None:
    module = combined()
    first, _, newest = installed(module)
    rows = newest.weight.flatten(1)
    assert rows[0].tolist() == near(1.62432728, 1.17983792, 0.45908229, -0.61204333)
    assert rows[1].tolist() == near(0.17607996, 0.37994856, 0.29627967, 0.22681676)
    assert newest.bias.tolist() == near(0.48311197, 1.04392798)
    assert torch.allclose(first.weight[0].flatten(), W[0])
    factor = rows.norm(dim=1).mean() / module.new_weight().norm(dim=1).mean()
    assert factor.item() == pytest.approx(7.9377, abs=5e-5)


def test_XN9_first_forward() -> None:
    logits = torch.cat([classifier(FEATURE) for classifier in installed(tuned())], dim=1)[0]
    assert logits[3].flatten().tolist() == near(2.57409926, 2.61538555, 2.32286573, 1.74272225)
    assert logits[4].flatten().tolist() == near(1.17664258, 1.13787268, 1.08293012, 1.02048910)
    assert logits[0].flatten().tolist() == near(0.37935902, -0.00008983, -0.34815897, -0.60989595)


@pytest.mark.parametrize("norms", ["batch", "frozen"])
def test_prepare_tunes_nothing_but_the_new_classifier(norms: str) -> None:
    torch.manual_seed(0)
    info = StepInfo("voc", "15-5", 1, (16, 5), 1, 0)
    teacher, model = build_model("small_cnn", [16]).eval(), build_model("small_cnn", [16, 5])
    model.load_state_dict(teacher.state_dict(), strict=False)
    settings: dict[str, Any] = {"pretune_norms": norms, "epochs": 2, "select_size": 16}
    method = get("nest")(settings_of("nest", settings, "voc", "15-5", "small_cnn"), info)
    method.init_classifier(model)
    assert method.inner.settings.loss_kd == 10.0
    assert torch.equal(model.classifiers[0].bias, teacher.classifiers[0].bias), "no balanced start"
    before = {key: value.clone() for key, value in model.state_dict().items()}
    objects = {name: id(parameter) for name, parameter in model.named_parameters()}
    masks = torch.randint(0, 21, (2, 64, 64))
    masks[masks < 16] = 0
    batch = Batch(torch.randn(2, 3, 64, 64), masks, torch.zeros(2, 20), ("a", "b"), ("dataset", "dataset"))

    def passes(epochs: int) -> Iterator[Batch]:
        yield from [batch] * epochs

    method.prepare(model, teacher, passes, 0.01)
    after = model.state_dict()
    changed = {key for key in after if not torch.equal(after[key], before[key])}
    running = {key for key in after if "running" in key or "num_batches" in key}
    assert changed - running == {"classifiers.0.weight", "classifiers.1.weight", "classifiers.1.bias"}
    assert bool(changed & running) == (norms == "batch")
    old, new = before["classifiers.0.weight"], after["classifiers.0.weight"]
    assert torch.equal(old[1:], new[1:]) and torch.allclose(old[0].norm(), new[0].norm())
    lengths = [after[f"classifiers.{i}.weight"].flatten(1).norm(dim=1).mean() for i in (0, 1)]
    assert torch.allclose(*lengths)
    assert objects == {name: id(parameter) for name, parameter in model.named_parameters()}


def test_a_class_without_pixels_starts_uniform() -> None:
    selection = Selection(W, B, 2, 4, "full")
    selection.update(S((1, 4, 4, 4), 0.37, 0.3), torch.full((1, 4, 4), 3))
    importance, projection = selection.result()
    assert torch.equal(importance[1], torch.ones(3, 4, dtype=W.dtype)) and torch.allclose(
        projection[1], torch.full((3,), 1 / 3, dtype=W.dtype)
    )


def test_old_classifiers_are_frozen_for_plop_on_voc_alone() -> None:
    for base, dataset, frozen in (("plop", "voc", True), ("plop", "ade", False), ("mib", "voc", False)):
        model = build_model("small_cnn", [16, 5])
        info = StepInfo(dataset, "15-5", 1, (16, 5), 1, 0)
        method = get("nest")(settings_of("nest", {"base": base}, dataset, "15-5", "small_cnn"), info)
        method.init_classifier(model)
        assert model.classifiers[0].weight.requires_grad is not frozen
        assert model.classifiers[1].weight.requires_grad


def test_what_nest_cannot_wrap_is_refused() -> None:
    cls, settings = get("nest"), settings_of("nest", {"base": "ssul"})
    with pytest.raises(ValueError, match="one 1x1 classifier per step"):
        cls.heads(settings, (16, 5))
    with pytest.raises(ValueError, match="learns from the pixel masks"):
        settings_of("nest", {"base": "wilson"})
