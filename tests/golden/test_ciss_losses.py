"""Checks B1-B10 (losses) and C1-C4 (initialisation) of ciss_methods.md section 9."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pipeline import losses
from pipeline.losses import wilson
from pipeline.losses.ssul import head_sizes
from pipeline.models.initialise import align_weights, balanced, copy_unknown
from tests.golden.inputs import LAB, NEW, OLD, S, near


def test_B1_cross_entropy() -> None:
    pixels = losses.cross_entropy(NEW, LAB, reduction="none")
    assert pixels.flatten().tolist() == near(1.2164631, 1.0017077, 3.1707681, 0)
    assert losses.cross_entropy(NEW, LAB).item() == near(1.3472347)
    assert losses.cross_entropy(NEW, LAB, reduction="mean_valid").item() == near(1.7963130)


@pytest.mark.parametrize("first", [0, 2])
def test_B2_unbiased_cross_entropy(first: int) -> None:
    labels = LAB.clone()
    labels[0, 0, 0] = first
    pixels = losses.unbiased_cross_entropy(NEW, labels, 3, reduction="none")
    assert pixels.flatten().tolist() == near(0.13561168, 1.0017077, 3.1707681, 0)
    assert losses.unbiased_cross_entropy(NEW, labels, 3).item() == near(1.0770219)


def test_B3_knowledge_distillation() -> None:
    kd = losses.knowledge_distillation(NEW, OLD)
    assert kd.item() == near(0.67520134)
    assert losses.knowledge_distillation(NEW, OLD, alpha=2).item() == near(0.64775795)
    assert (losses.cross_entropy(NEW, LAB) + 100 * kd).item() == near(68.867369)


def test_B4_unbiased_knowledge_distillation() -> None:
    pixels = [
        losses.unbiased_knowledge_distillation(NEW[..., i : i + 1, j : j + 1], OLD[..., i : i + 1, j : j + 1]).item()
        for i in (0, 1)
        for j in (0, 1)
    ]
    assert pixels == near(0.83226258, 0.31207362, 0.55606047, 0.94062628)
    assert losses.unbiased_knowledge_distillation(NEW, OLD).item() == near(0.66025574)
    assert losses.unbiased_knowledge_distillation(NEW, OLD, alpha=0.5).item() == near(0.68529938)


@pytest.mark.parametrize(("weight", "expected"), [(10, 7.6795793), (40, 27.4872515)])
def test_B5_mib(weight: float, expected: float) -> None:
    total = losses.unbiased_cross_entropy(NEW, LAB, 3) + weight * losses.unbiased_knowledge_distillation(NEW, OLD)
    assert total.item() == near(expected)


def test_B6_summed_bce() -> None:
    pixels = losses.summed_bce(NEW, LAB, reduction="none")
    assert pixels.flatten().tolist() == near(3.0830936, 3.2770677, 5.6573248, 0)
    assert losses.summed_bce(NEW, LAB).item() == near(3.0043716)
    assert losses.summed_bce(NEW, LAB, reduction="mean_valid").item() == near(4.0058289)
    assert pixels.sum().item() == near(12.017487)


def test_B7_icarl_combined() -> None:
    old = losses.icarl_combined(NEW, OLD)
    assert old.item() / 3 == near(1.0548607)
    assert 10 * old.item() == near(31.645820)
    assert (losses.summed_bce(NEW, LAB) + 10 * old).item() == near(34.650192)


def test_B8_icarl_disjoint() -> None:
    assert losses.icarl_disjoint(NEW, LAB, OLD, background=0).item() == near(4.8293896)
    assert losses.icarl_disjoint(NEW, LAB, OLD, background=1).item() == near(5.2413301)


def test_B9_feature_distillation() -> None:
    mse = losses.feature_mse(S((1, 4, 3, 3), 0.31, 0.25), S((1, 4, 3, 3), 0.3, 0.2))
    kd = losses.knowledge_distillation(NEW, OLD)
    assert mse.item() == near(0.029708095)
    assert (100 * kd + 100 * mse).item() == near(70.490943)
    assert (10 * kd + 10 * mse).item() == near(7.0490943)


def test_B10_focal_cross_entropy() -> None:
    pixels = losses.focal_cross_entropy(NEW, LAB, reduction="none")
    assert pixels.flatten().tolist() == near(0.60242560, 0.40105406, 2.9101909, 0)


def heads(n_new: int = 2) -> nn.ModuleList:
    """Head 0 of C1 and an untouched newest one, in float64."""
    modules = nn.ModuleList([nn.Conv2d(4, 3, 1), nn.Conv2d(4, n_new, 1)]).double()
    with torch.no_grad():
        modules[0].weight.copy_(S((3, 4, 1, 1), 0.9, 0.1))
        modules[0].bias.copy_(S((3,), 0.5, 0.2))
    return modules


def test_C1_balanced() -> None:
    modules = heads()
    balanced(modules)
    for row in modules[1].weight:
        assert row.flatten().tolist() == near(0.09983341, 0.84147098, 0.94630009, 0.33498815)
    assert modules[1].bias.tolist() == near(-0.89994299, -0.89994299)
    assert modules[0].bias.tolist() == near(-0.89994299, 0.64421767, 0.93203908)


def test_C2_balanced_keeps_probabilities() -> None:
    modules, feature = heads(), S((1, 4, 1, 1), 0.4, 0.3)
    before = modules[0](feature).softmax(dim=1).flatten()
    balanced(modules)
    after = torch.cat([head(feature) for head in modules], dim=1).softmax(dim=1).flatten()
    assert after.tolist() == near(0.19239058, 0.04232341, 0.38050485, 0.19239058, 0.19239058)
    assert before[0].item() == near(0.57717179)
    assert after[[0, 3, 4]].sum().item() == near(before[0].item())


@pytest.mark.parametrize(
    ("against", "expected"),
    [
        ("all", (0.29973480, 0.92226547, -0.53739244, -0.78378534)),
        ("old", (0.30426955, 0.93621862, -0.54552275, -0.79564339)),
        ("background", (0.29066530, 0.89435911, -0.52113175, -0.76006919)),
    ],
)
def test_C3_weight_alignment(against: str, expected: tuple[float, ...]) -> None:
    modules = heads()
    with torch.no_grad():
        modules[1].weight.copy_(S((2, 4, 1, 1), 1.7, 0.3))
    bias = modules[1].bias.clone()
    align_weights(modules, against)  # type: ignore[arg-type]
    assert modules[1].weight[0].flatten().tolist() == near(*expected)
    assert torch.equal(modules[1].bias, bias)


def test_C4_copy_of_the_unknown_head() -> None:
    modules = [nn.Conv2d(4, n, 1) for n in head_sizes([3, 2])]
    assert [module.out_channels for module in modules] == [1, 1, 2, 2]
    unknown, newest = modules[1], modules[3]
    bias = newest.bias.clone()
    copy_unknown(unknown, newest, bias=False)
    assert torch.equal(newest.weight, unknown.weight.expand(2, -1, -1, -1))
    assert torch.equal(newest.bias, bias)
    copy_unknown(unknown, newest)
    assert torch.equal(newest.bias, unknown.bias.expand(2))


def test_copy_of_a_head_with_a_hidden_layer_gives_the_same_outputs() -> None:
    def head(n: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(4, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, n, 1)).double()

    unknown, newest = head(1), head(3)
    unknown(S((2, 4, 5, 5), 0.7, 0.2))
    copy_unknown(unknown, newest)
    x = S((1, 4, 5, 5), 0.3, 0.1)
    assert torch.allclose(newest.eval()(x), unknown.eval()(x).expand(-1, 3, -1, -1))


LABELS = torch.tensor([[1.0, 0.0]])
MASK = torch.zeros(1, 5, 2, 2)
MASK[0, 0, 0], MASK[0, 3, 1, 0] = 1, 1
HALF_SAFE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": lambda z, o: losses.cross_entropy(z, LAB),
    "focal_cross_entropy": lambda z, o: losses.focal_cross_entropy(z, LAB),
    "summed_bce": lambda z, o: losses.summed_bce(z, LAB),
    "unbiased_cross_entropy": lambda z, o: losses.unbiased_cross_entropy(z, LAB, 3),
    "knowledge_distillation": losses.knowledge_distillation,
    "unbiased_knowledge_distillation": losses.unbiased_knowledge_distillation,
    "icarl_combined": losses.icarl_combined,
    "icarl_disjoint": lambda z, o: losses.icarl_disjoint(z, LAB, o),
    "feature_mse": lambda z, o: losses.feature_mse(z[:, :3], o),
    "local_pod": lambda z, o: losses.local_pod([z], [o]),
    "feature_transfer": lambda z, o: losses.feature_transfer([z[:, :3]], [o], LAB),
    "attention_transfer": lambda z, o: losses.attention_transfer(
        [z[:, :3].flatten(2)[..., None]], [o.flatten(2)[..., None]], LAB
    ),
    "classification_loss": lambda z, o: wilson.classification_loss(z, LABELS),
    "localization_prior": wilson.localization_prior,
    "self_supervised_loss": lambda z, o: wilson.self_supervised_loss(z, MASK, torch.tensor([[0.0, 0.0, 1.0, 0.0]])),
    "segmentation_loss": lambda z, o: wilson.segmentation_loss(
        z, wilson.soft_targets(z, o, torch.tensor([[0.0, 0.0, 1.0, 0.0]])), torch.ones(1)
    ),
}


@pytest.mark.parametrize("name", HALF_SAFE)
def test_half_precision_inputs_are_reduced_in_single_precision(name: str) -> None:
    z, o = NEW.bfloat16(), OLD.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        got = HALF_SAFE[name](z, o)
    assert got.dtype == torch.float32
    assert got.item() == pytest.approx(HALF_SAFE[name](z.double(), o.double()).item(), rel=1e-5)
    assert got.item() != 0


def test_unbiased_losses_at_the_extremes_stay_finite() -> None:
    z = (100 * NEW).float().requires_grad_()
    total = losses.unbiased_cross_entropy(z, LAB, 3) + losses.unbiased_knowledge_distillation(z, 100 * OLD.float())
    total.backward()
    assert torch.isfinite(total) and torch.isfinite(z.grad).all()


def test_unknown_old_labels_are_refused_by_the_library() -> None:
    with pytest.raises((IndexError, RuntimeError)):
        losses.summed_bce(NEW, torch.full_like(LAB, 7))
