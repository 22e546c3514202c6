"""Checks F1-F8 (SATS) of ciss_methods.md section 9."""

import pytest
import torch
from torch import Tensor

from pipeline.losses import (
    attention_transfer,
    class_region_pooling,
    cross_entropy,
    feature_transfer,
    unbiased_knowledge_distillation,
)
from pipeline.losses.attention import by_position, region_labels
from pipeline.losses.pseudo_labels import pseudo_targets
from pipeline.methods import Batch, Forward, StepInfo, get, settings_of
from pipeline.models.network import Output
from tests.golden.inputs import S, near_single

F32 = torch.float32
SIDES, HEADS = (4, 4, 2, 2), (1, 2, 2, 3)


def attention(a: float, b: float) -> list[Tensor]:
    shapes = [(2, h, side * side, 3) for side, h in zip(SIDES, HEADS, strict=True)]
    return [(2 * S(shape, a, b)).to(F32).softmax(dim=-1) for shape in shapes]


STUDENT, TEACHER = attention(0.45, 0.2), attention(0.37, 0.1)
LABELS = torch.tensor(
    [
        [[16, 16, 0, 0], [16, 16, 0, 0], [0, 0, 0, 0], [0, 0, 255, 255]],
        [[0, 0, 0, 0], [0, 16, 16, 0], [0, 16, 16, 0], [0, 0, 0, 0]],
    ]
)


def old_logits() -> Tensor:
    z = torch.zeros(2, 16, 4, 4)
    z[:, 0] = 30
    z[0, 5, 2:, :2] = 60
    z[1, 7, [0, 3]] = 60
    return z


def targets() -> Tensor:
    return pseudo_targets(LABELS, old_logits(), torch.full((17,), 0.008), 17)


def stages(layout: str, variant: str = "class") -> list[float]:
    return [
        attention_transfer([s], [t], targets(), layout=layout, variant=variant).item()  # type: ignore[arg-type]
        for s, t in zip(STUDENT, TEACHER, strict=True)
    ]


def test_F1_targets() -> None:
    first, second = targets().tolist()
    assert first == [[16, 16, 0, 0], [16, 16, 0, 0], [5, 5, 0, 0], [5, 5, 255, 255]]
    assert second == [[7, 7, 7, 7], [0, 16, 16, 0], [0, 16, 16, 0], [7, 7, 7, 7]]


def test_F2_label_maps() -> None:
    assert region_labels(targets(), (2, 2)).tolist() == [[[16, 0], [5, 255]], [[16, 0], [7, 7]]]


def test_F3_attention() -> None:
    assert STUDENT[1][0, 1, 5].tolist() == near_single(0.57830179, 0.26433149, 0.15736672)


def test_F4_legacy_layout() -> None:
    values = stages("legacy")
    assert values == near_single(0.12372925, 0.05260836, 0.25343246, 0.26825883)
    total = 20 * attention_transfer(STUDENT, TEACHER, targets(), layout="legacy").item()
    assert total == near_single(3.4901447)


def test_F5_aligned_layout_is_the_default() -> None:
    assert stages("aligned") == near_single(0.12372926, 0.18135056, 0.29755169, 0.27414170)
    assert 20 * attention_transfer(STUDENT, TEACHER, targets()).item() == near_single(4.3838660)


@pytest.mark.parametrize(("layout", "expected"), [("legacy", 9.9110932), ("aligned", 10.8048145)])
def test_F6_full_loss(layout: str, expected: float) -> None:
    z = S((2, 17, 4, 4), 0.11, 0.2, F32)
    classification = cross_entropy(z, targets())
    distillation = 20 * unbiased_knowledge_distillation(z, old_logits())
    assert classification.item() == near_single(3.0062079)
    assert distillation.item() == near_single(3.4147406)
    transfer = 20 * attention_transfer(STUDENT, TEACHER, targets(), layout=layout)  # type: ignore[arg-type]
    assert (classification + distillation + transfer).item() == near_single(expected)


@pytest.mark.parametrize(("variant", "expected"), [("GP", 0.05524063), ("NP", 0.30212054)])
def test_F7_variants(variant: str, expected: float) -> None:
    value = attention_transfer(STUDENT, TEACHER, targets(), layout="legacy", variant=variant)  # type: ignore[arg-type]
    assert value.item() == near_single(expected)


def test_F8_feature_variant() -> None:
    student, teacher = ([S((2, 3, side, side), a, b, F32) for side in SIDES] for a, b in ((0.45, 0.2), (0.37, 0.1)))
    assert feature_transfer(student, teacher, targets()).item() == near_single(0.82822585)


def test_region_means_against_a_loop() -> None:
    values, labels = S((2, 16, 2, 3), 0.3, 0.1), targets().flatten(1)
    means, present = class_region_pooling(values, labels)
    for image in range(2):
        for r, c in enumerate((5, 7, 16)):
            members = values[image][labels[image] == c]
            assert present[image, r].item() == float(len(members) > 0)
            if len(members):
                assert torch.allclose(means[image, r], members.mean(dim=0))


def test_legacy_scrambles_only_several_heads() -> None:
    assert torch.equal(by_position(STUDENT[0], "legacy"), by_position(STUDENT[0]))
    assert not torch.equal(by_position(STUDENT[1], "legacy"), by_position(STUDENT[1]))


def test_images_without_regions_contribute_zero_and_keep_the_gradient() -> None:
    student = STUDENT[1].clone().requires_grad_()
    value = attention_transfer([student], TEACHER[1:2], torch.zeros_like(LABELS))
    value.backward()
    assert value.item() == 0 and torch.equal(student.grad, torch.zeros_like(student))
    half = targets()
    half[1] = 0
    alone = attention_transfer([STUDENT[1][:1]], [TEACHER[1][:1]], targets()[:1])
    assert attention_transfer([STUDENT[1]], [TEACHER[1]], half).item() == near_single(alone.item() / 2)


def test_positions_of_an_oblong_crop() -> None:
    labels = torch.zeros(1, 4, 8, dtype=torch.int64)
    labels[:, :, 4:] = 3
    values = S((1, 1, 8, 3), 0.3, 0.1, F32)
    right = values[0, 0][[2, 3, 6, 7]].mean(dim=0)
    value = attention_transfer([values], [torch.zeros_like(values)], labels)
    assert value.item() == near_single(right.norm().item())


def test_wrong_inputs_say_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="got 4 and 3"):
        attention_transfer(STUDENT, TEACHER[:3], targets())
    with pytest.raises(ValueError, match="7 attention positions"):
        attention_transfer([STUDENT[1][:, :, :7]], [TEACHER[1][:, :, :7]], targets())
    with pytest.raises(ValueError, match="layout `new`"):
        attention_transfer(STUDENT, TEACHER, targets(), layout="new")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="transfer `CP`"):
        attention_transfer(STUDENT, TEACHER, targets(), variant="CP")  # type: ignore[arg-type]


def transfer(**values: object) -> float:
    """The transfer term of SATS on case T of assembled_methods.md 1, with published settings and `values`."""
    shapes = [(3, h, side * side, 3) for side, h in zip((8, 4, 2, 2), (1, 2, 3, 2), strict=True)]
    empty = torch.zeros(3, 1, 1, 1)

    def output(channels: int, a: float, b: float, map_a: float, map_b: float) -> Output:
        maps = tuple((1.5 * S(s, map_a, map_b + i)).to(F32).softmax(dim=-1) for i, s in enumerate(shapes))
        return Output((2 * S((3, channels, 4, 4), a, b)).to(F32), empty, (), maps)

    pattern = (0, 0, 0, 4, 5, 255)
    masks = torch.tensor([pattern[(k // 3 + k // 16) % 6] for k in range(3 * 16 * 16)]).view(3, 16, 16)
    batch = Batch(S((3, 3, 16, 16), 0.11, 0.3).to(F32), masks, torch.zeros(3, 5), ("a", "b", "c"), ("dataset",) * 3)
    info = StepInfo("voc", "15-5", 2, (3, 1, 2), 3, 1, "segformer_b2")
    method = get("sats")(settings_of("sats", values, "voc", "15-5", "segformer_b2"), info)
    method.load_state({"thresholds": torch.tensor([0.10, 0.07, 0.11, 0.09, 0.001, 0.001])}, resumed=True)
    both = output(6, 0.37, 0.1, 0.57, 0.1), output(4, 0.29, 0.5, 0.51, 0.2)
    return method.losses(Forward(batch, *both, epoch=0))["transfer"].item()


@pytest.mark.parametrize(
    ("variant", "expected"), [("class", 3.639627), ("GP", 0.02030278), ("NP", 0.2917981)]
)  # M-sats-1, -3 and -4 of assembled_methods.md 2
def test_the_ablations_are_transferred_with_weight_one(variant: str, expected: float) -> None:
    assert transfer(variant=variant) == near_single(expected)
