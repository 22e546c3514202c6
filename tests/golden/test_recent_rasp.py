"""Checks R1-R10 of recent_methods.md 1.8: RaSP."""

import pytest
import torch
from torch import Tensor

from pipeline.datasets.readers.class_names import VOC
from pipeline.losses import semantic_prior, wilson
from pipeline.methods.rasp import embedded_similarity, prompts
from tests.golden.inputs import S, near
from tests.golden.test_web_wilss_losses import G15, L18

D = torch.float64
TEACHER = 2 * S((2, 3, 2, 2), 0.7, 0.1)
LOCALIZER = 3 * S((2, 5, 2, 2), 0.5, 0.2)
LABELS = torch.tensor([[0, 0, 1, 0], [0, 0, 1, 1]], dtype=D)
NEW = LABELS[:, 2:]


def embeddings(order: tuple[int, ...] = (0, 1, 2, 3, 4)) -> Tensor:
    k, j = torch.tensor(order, dtype=D)[:, None], torch.arange(4, dtype=D)
    return torch.sin(0.9 * j + 0.2 * k + 0.1)


def table(order: tuple[int, ...] = (0, 1, 2, 3, 4)) -> Tensor:
    return semantic_prior.name_similarity(embeddings(order))[3:, :3]


def test_XR1_similarity_and_prompts() -> None:
    a = semantic_prior.name_similarity(embeddings(), 5)
    assert a[0].tolist() == near(1, 0.87635902, 0.59702063, 0.33019647, 0.15766169)
    assert a[3].tolist() == near(0.33019647, 0.60996160, 0.88600096, 1, 0.89611845)
    soft = semantic_prior.name_similarity(embeddings(), 1)
    assert soft[0].tolist() == near(1, 0.97394944, 0.90198199, 0.80122499, 0.69110691)
    named = prompts(["background", "cat", "car"])
    assert named == ["this is an image of unknown", "this is an image of cat", "this is an image of car"]


def test_XR2_table_and_loss() -> None:
    assert TEACHER.argmax(1).tolist() == [[[1, 0], [0, 2]], [[2, 2], [2, 1]]]
    rows = semantic_prior.semantic_table(table())
    assert rows[0].tolist() == near(0.73105858, 0.86380611, 0.93603123)
    assert rows[1].tolist() == near(0.73105858, 0.90301769, 0.98237585)
    targets = semantic_prior.semantic_targets(table(), TEACHER)
    assert targets[0, 1].flatten().tolist() == near(0.90301769, 0.73105858, 0.73105858, 0.98237585)
    assert semantic_prior.semantic_loss(LOCALIZER, targets, NEW).item() == near(0.94401106)


def test_XR3_no_label_no_loss() -> None:
    targets = semantic_prior.semantic_targets(table(), TEACHER)
    assert semantic_prior.semantic_loss(LOCALIZER, targets, torch.zeros(2, 2, dtype=D)).item() == 0


def test_XR4_another_order_of_classes() -> None:
    targets = semantic_prior.semantic_targets(table((0, 3, 1, 4, 2)), TEACHER)
    assert targets[0, 0].flatten().tolist() == near(0.99661093, 0.73105858, 0.73105858, 0.90301769)
    assert targets[0, 1].flatten().tolist() == near(0.81518163, 0.73105858, 0.73105858, 0.81332506)
    assert semantic_prior.semantic_loss(LOCALIZER, targets, NEW).item() == near(0.96000958)


def test_XR5_gradient() -> None:
    localizer = LOCALIZER.clone().requires_grad_()
    semantic_prior.semantic_loss(localizer, semantic_prior.semantic_targets(table(), TEACHER), NEW).backward()
    gradient = localizer.grad
    assert gradient is not None and gradient.norm().item() == near(0.12595882)
    by_channel = gradient.transpose(0, 1).flatten(1).norm(dim=1).tolist()
    assert by_channel == near(0, 0, 0, 0.10718491, 0.06615904)


def released(mean: float, labelled: int) -> float:
    """The released program multiplies the mean by k / (k + 1e-5)."""
    return mean * labelled / (labelled + 1e-5)


def test_XR6_classification() -> None:
    mean = wilson.classification_loss(LOCALIZER, NEW).item()
    assert mean == near(1.62119573) and released(mean, 2) == near(1.62118762)
    one = torch.tensor([[1.0, 0], [0, 0]], dtype=D)
    assert released(wilson.classification_loss(LOCALIZER, one).item(), 1) == near(0.48123565)
    terms = torch.nn.functional.binary_cross_entropy_with_logits(
        wilson.pooled_scores(LOCALIZER)[:, 3:], one, reduction="none"
    )
    assert terms[0].tolist() == near(0.40807898, 1.00373655)
    assert terms[1].tolist() == near(0.01612216, 0.49702416)
    assert semantic_prior.labelled_classification(LOCALIZER, one).item() == near(0.70590776)


def test_XR7_tree_distances() -> None:
    """The tree variant is not offered; a similarity file may hold exp(-hops / tau), whose values these are."""
    five = torch.exp(-torch.tensor([2, 5, 9, 3, 6], dtype=D) / 5)
    assert five.tolist() == near(0.67032005, 0.36787944, 0.16529889, 0.54881164, 0.30119421)
    two = torch.exp(-torch.tensor([6, 9, 13, 5], dtype=D) / 2)
    assert two.tolist() == near(0.04978707, 0.01110900, 0.00150344, 0.08208500)


def test_XR8_localizer_terms() -> None:
    cls = released(wilson.classification_loss(LOCALIZER, NEW).item(), 2)
    loc = wilson.localization_prior(LOCALIZER, TEACHER).item()
    sem = semantic_prior.semantic_loss(LOCALIZER, semantic_prior.semantic_targets(table(), TEACHER), NEW).item()
    assert [cls, loc, sem] == near(1.62118762, 0.90594273, 0.94401106)
    assert cls + loc + sem == near(3.47114141)


def test_XR9_self_supervision() -> None:
    yes, no = torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, 0.0]])
    one = semantic_prior.agreeing_self_supervision(L18, G15, yes, 2).item()
    assert one == near(0.17605234)
    pair, mask = L18.repeat(2, 1, 1, 1), G15.repeat(2, 1, 1, 1)
    mixed = torch.cat([yes, no])
    assert semantic_prior.agreeing_self_supervision(pair, mask, mixed, 2).item() == near(0.17605234)
    assert wilson.self_supervised_loss(pair, mask, mixed).item() == pytest.approx(0.08802705, rel=2e-5)
    # The second agrees with its pseudo-mask too, but its one label is of the old class: it counts nowhere.
    without = G15.clone()
    without[:, 2] = 0
    masks, old_alone = torch.cat([G15, without]), torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    values, agrees = wilson.self_supervised_values(pair, masks, old_alone)
    assert agrees.tolist() == [1, 1] and values[1] > 0
    assert semantic_prior.agreeing_self_supervision(pair, masks, old_alone, 1).item() == near(0.17605234)


@pytest.mark.slow
def test_XR10_names_of_voc() -> None:
    a = embedded_similarity(VOC, 5)
    approx = lambda *values: pytest.approx(list(values), rel=2e-3)  # noqa: E731
    assert a[0, 16:].tolist() == approx(0.048025, 0.082042, 0.057667, 0.080799, 0.064834)
    ratio = a[16:, :16] / a[16:, :1]
    name = {name: index for index, name in enumerate(VOC)}
    wide = [("pottedplant", "bottle"), ("sheep", "cow"), ("sheep", "horse"), ("sofa", "chair"), ("train", "bus")]
    pairs = [*wide, ("tvmonitor", "aeroplane")]
    found = [float(ratio[name[new] - 16, name[old]]) for new, old in pairs]
    assert found == approx(1.8074, 2.3066, 2.2263, 3.9636, 2.0353, 1.1438)
    # The largest ratio of each new class is one of those.
    best = {VOC[16 + k]: VOC[int(row[1:].argmax()) + 1] for k, row in enumerate(ratio)}
    assert set(best.items()) <= set(pairs)
    lowest = divmod(int(ratio.argmin()), 16)
    assert (VOC[16 + lowest[0]], VOC[lowest[1]]) == ("train", "diningtable")
    assert float(ratio.min()) == pytest.approx(0.3346, rel=2e-3)
    assert float(semantic_prior.semantic_table(a[16:, :16]).min()) == pytest.approx(0.5829, rel=2e-3)
