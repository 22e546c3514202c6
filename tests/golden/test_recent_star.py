"""Checks S1-S11 of recent_methods.md 4.8: STAR."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.losses import prototypes as rules
from pipeline.methods import StepInfo, get, settings_of
from tests.golden.inputs import S, near, near_single

D = torch.float64


def counter() -> rules.PrototypeCounter:
    """Two batches of two images, 2 x 2 positions, classes 1 and 2."""
    count = rules.PrototypeCounter(range(1, 3), 256)
    for i in (0, 1):
        labels = torch.tensor([[[1, 0], [2, 2]], [[255, 1 + i], [0, 1 + i]]])
        count.update(S((2, 256, 2, 2), 0.013 + 0.002 * (i + 1), 0.3 + 0.1 * i), labels)
    return count


def test_XS1_pixels() -> None:
    background, found = counter().result()
    assert [float(background), *found.numbers.tolist()] == [4, 4, 6]
    labels = torch.zeros(1, 64, 64, dtype=torch.int64)
    labels[:, 8::16, 8::16] = 1
    assert rules.at_grid(labels, (4, 4)).tolist() == [[[1] * 4] * 4], "[s/2 :: s]"


def test_XS2_prototypes() -> None:
    prototypes = counter().result()[1].prototypes
    assert prototypes[0, :4].tolist() == near(0.03941538, 0.03929099, 0.03900009, 0.03854038)
    assert prototypes[1, :4].tolist() == near(-0.00465730, 0.00119105, 0.00704880, 0.01289099)
    assert prototypes.norm(dim=1).tolist() == near(1, 1)


def test_XS3_norms() -> None:
    norms = counter().result()[1].norms
    assert norms[0].tolist() == near(11.46132755, 11.33909512)
    assert norms[1].tolist() == near(0.06315174, 0.26178119)


def test_XS4_noise() -> None:
    noise = counter().result()[1].noise
    assert noise[0, :4].tolist() == near(0.02776981, 0.03069233, 0.03403280, 0.03763252)
    assert noise[1, :4].tolist() == near(0.05186059, 0.05260564, 0.05314797, 0.05348529)
    assert noise.mean(dim=1).tolist() == near(0.06715907, 0.04024706)


def test_XS5_own_classes() -> None:
    logits, labels = 2 * S((1, 5, 2, 2), 1.0, 0.5)[:, 3:], torch.tensor([[[0, 4], [5, 255]]])
    by_pixel = [
        rules.own_classes_bce(logits[..., i : i + 1, j : j + 1], labels[:, i : i + 1, j : j + 1], 4, 4.0).tolist()
        for i in (0, 1)
        for j in (0, 1)
    ]
    assert [row[0] for row in by_pixel] == near(0.62902296, 0.73053324, 2.01315951, 0.92077935)
    assert [row[1] for row in by_pixel] == near(0.21579868, 0.13286525, 4.37264967, 1.47180843)
    own = rules.own_classes_bce(logits, labels, 4, 4.0)
    assert own.tolist() == near(1.07337379, 1.54828048)
    assert own.sum().item() == near(2.62165427)
    known = rules.own_classes_bce(logits, labels, 4, 4.0, void="ignore")
    assert known.tolist() == near(
        (0.62902296 + 0.73053324 + 2.01315951) / 3, (0.21579868 + 0.13286525 + 4.37264967) / 3
    )


def test_XS6_old_features() -> None:
    region = torch.zeros(1, 64, 64, dtype=torch.bool)
    region[:, :24], region[:, 40:, :16] = True, True
    features, teacher = S((1, 4, 4, 4), 0.31, 0.25), S((1, 4, 4, 4), 0.30, 0.20)
    resized = F.interpolate(region[:, None].double(), size=(4, 4), mode="bilinear", align_corners=False)[0, 0]
    assert resized.tolist() == [[1] * 4, [0.5] * 4, [0.5, 0, 0, 0], [1, 0, 0, 0]] and resized.sum() == 7.5
    assert rules.old_feature_distillation(features, teacher, region).item() == near(0.07946011)
    whole = torch.ones_like(region)
    assert rules.old_feature_distillation(features, teacher, whole).item() == near(0.08757664)
    assert rules.old_feature_distillation(features, teacher, ~whole).item() == 0


def test_XS7_centres() -> None:
    prototypes = F.normalize(S((3, 4), 0.7, 0.2), dim=1)
    labels = torch.zeros(2, 32, 32, dtype=torch.int64)
    labels[0, :16, :16] = 4
    labels[1, 8:, 20:] = 5
    labels[1, :4] = 255
    features = S((2, 4, 4, 4), 0.4, 0.3)
    assert rules.centre_distance(features, labels, range(4, 6), prototypes).item() == near(2.05832955)
    labels[labels == 5] = 0
    assert rules.centre_distance(features, labels, range(4, 6), prototypes).item() == near(1.81360345)


@pytest.mark.parametrize(
    ("disjoint", "replayed", "gain", "numbers"),
    [
        (False, [30, 0, 25], 1.705, [10820, 400, 55, 300, 120, 80]),
        (True, [40, 5, 30], 2.25, [13000, 500, 115, 350, 120, 80]),
    ],
)
def test_XS8_bookkeeping(disjoint: bool, replayed: list[int], gain: float, numbers: list[int]) -> None:
    before, seen = torch.tensor([9000.0, 400, 55, 300]), torch.tensor([4000.0, 100, 60, 50])
    plan = rules.replay_plan(before, seen, 2, disjoint)
    assert [int(missing / 10) for missing in plan.missing.tolist()] == replayed
    assert plan.gain == near_single(gain)
    assert torch.cat([plan.numbers, torch.tensor([120.0, 80])]).tolist() == near_single(*numbers)
    # The method's own numbers: ten iterations of two images, one process.
    setting = "disjoint" if disjoint else "overlap"
    info = StepInfo("voc", "x", 1, (4, 2), 1, 0, setting=setting)
    method = get("star")(settings_of("star", {}), info)
    empty = torch.zeros(3, 4, dtype=D)
    method.old = rules.ClassStatistics(before.double(), empty, torch.zeros(2, 3, dtype=D), empty)
    method._predicted = torch.cat([seen, torch.tensor([20.0])]).double()
    fresh = rules.ClassStatistics(torch.tensor([120.0, 80], dtype=D), empty[:2], torch.zeros(2, 2, dtype=D), empty[:2])
    joined = method._joined(torch.tensor(5000.0, dtype=D), fresh)
    assert joined.numbers.tolist() == near_single(*numbers) and joined.norms.shape == (2, 5)
    method._newest = torch.nn.Conv2d(4, 2, 1)
    assert method._replayed(method._plan(), 2, 1, torch.zeros(1))[1] == sum(replayed)


def test_XS9_balanced_sum() -> None:
    own, replayed, background = (torch.tensor(row, dtype=D) for row in ((1.2, 0.9), (0.7, 0.2), (0.4, 0.3)))
    a, r = 1.705 * 12 / 32, 20 / 32
    assert [a, r] == near(0.639375, 0.625)
    assert rules.balanced_bce(own, replayed, background, r, a).tolist() == near(0.83610268, 0.53737235)


def test_XS10_decisions() -> None:
    logits = 0.9 * S((1, 4, 2, 3), 0.8, 0.2) - 0.3
    maxima = [0.50531205, 0.45732389, 0.57646287, 0.50883729, 0.54665750, 0.54932610]
    assert logits.amax(dim=1).flatten().tolist() == near(*maxima)
    info = StepInfo("voc", "x", 1, (3, 2), 1, 0)
    method = get("star")(settings_of("star", {}), info)
    assert method.decode(logits).tolist() == [[[4, 1, 1], [2, 2, 3]]]
    assert rules.old_prediction(logits).tolist() == [[[4, 0, 1], [2, 2, 3]]]
    assert method.decode(-logits.abs()).max() == 0


def replayed(counts: list[int], draws: list[Tensor]) -> Tensor:
    given = iter(draws)

    def normal(shape: tuple[int, ...]) -> Tensor:
        drawn = next(given)
        assert tuple(drawn.shape) == shape
        return drawn

    prototypes, noise = F.normalize(S((3, 4), 0.7, 0.2), dim=1), 0.1 * S((3, 4), 0.2, 0.5).abs()
    norms = torch.tensor([[6.0, 7, 8], [0.5, 0.4, 0.3]], dtype=D)
    statistics = rules.ClassStatistics(torch.zeros(4, dtype=D), prototypes, norms, noise)
    return torch.cat(list(rules.replayed_features(statistics, counts, normal)), dim=2)[0, :, :, 0]


def test_XS11_replayed_features() -> None:
    counts = [2, 0, 1]
    sizes = [count for count in counts for _ in (0, 1)]
    draws = [S((1, 4, size, 1), 0.9 + 0.4 * j, 0.1) for j, size in enumerate(sizes)]
    found = replayed(counts, draws)
    assert found.flatten().tolist() == near(
        0.83777630, 1.12995051, -2.64456298,
        3.65419958, 3.08460891, 1.56762104,
        3.52421320, 3.66149623, 4.11676119,
        2.85281939, 3.13025924, 6.27880092,
    )  # fmt: skip
    still = replayed(counts, [torch.zeros_like(draw) for draw in draws])
    prototypes = F.normalize(S((3, 4), 0.7, 0.2), dim=1)
    expected = torch.stack([6 * prototypes[0], 6 * prototypes[0], 8 * prototypes[2]], dim=1)
    assert torch.allclose(still, expected), "without noise a feature points along its prototype"
