"""Checks W1-W31 of web_wilss.md section 11, through the public names of pipeline.train."""

import pytest
import torch
import torch.nn.functional as F

from pipeline import losses
from pipeline.losses import pamr, wilson
from pipeline.models.initialise import balanced

D = torch.float64
TOLERANCE = dict(abs=1e-5)


def t(*rows: tuple[float, ...]) -> torch.Tensor:
    """(1, C, 1, W) float64 from one tuple per channel."""
    return torch.tensor(rows, dtype=D).view(1, len(rows), 1, -1)


def grid(*channels: str) -> torch.Tensor:
    """(1, C, h, w) from strings such as '0.9 0.5; 0.3 0.65'."""
    return torch.tensor([[[float(v) for v in row.split()] for row in c.split(";")] for c in channels], dtype=D)[None]


def wave(shape: tuple[int, ...], function=torch.sin, scale: float = 1.0, shift: float = 0.0, dtype=D) -> torch.Tensor:
    size = int(torch.tensor(shape).prod())
    return function(scale * torch.arange(size, dtype=D) + shift).view(shape).to(dtype)


Z1 = t((0, 0), (1, -1), (2, 0))


def test_W1_softmax() -> None:
    expected = [[0.090031, 0.422319], [0.244728, 0.155362], [0.665241, 0.422319]]
    assert Z1.softmax(1)[0, :, 0].tolist() == [pytest.approx(row, **TOLERANCE) for row in expected]


def test_W2_ngwp() -> None:
    assert wilson.ngwp(Z1)[0].tolist() == pytest.approx([0.0, 0.063829, 0.637338], **TOLERANCE)


def test_W3_focal_and_sum() -> None:
    assert wilson.focal_penalty(Z1)[0].tolist() == pytest.approx([-0.544716, -0.798805, -0.056118], **TOLERANCE)
    assert wilson.pooled_scores(Z1)[0].tolist() == pytest.approx([-0.544716, -0.734976, 0.581220], **TOLERANCE)


def test_W4_classification_loss() -> None:
    labels = torch.tensor([[1.0, 0.0]])
    assert float(wilson.classification_loss(Z1, labels)) == pytest.approx(1.076047, **TOLERANCE)
    assert float(wilson.classification_loss(Z1, labels, reduction="sum")) == pytest.approx(2.152095, **TOLERANCE)
    assert float(wilson.classification_loss(Z1, torch.tensor([[1.0]]))) == pytest.approx(0.444183, **TOLERANCE)


def test_W5_poolings() -> None:
    labels = torch.tensor([[1.0, 0.0]])
    assert wilson.pooled_scores(Z1, "att")[0].tolist() == pytest.approx([0, 0.212730, 1.219331], **TOLERANCE)
    assert float(wilson.classification_loss(Z1, labels, "att")) == pytest.approx(1.035300, **TOLERANCE)
    assert float(wilson.classification_loss(Z1, labels, "mean")) == pytest.approx(1.003204, **TOLERANCE)


def test_W6_zero_logits() -> None:
    assert wilson.pooled_scores(torch.zeros(1, 3, 2, 2, dtype=D))[0].tolist() == pytest.approx(
        [-0.316757] * 3, **TOLERANCE
    )


def test_W7_localization_prior() -> None:
    assert float(wilson.localization_prior(Z1, t((2, 0), (-2, 1)))) == pytest.approx(0.906168, **TOLERANCE)


def test_W8_encoder_distillation() -> None:
    f = wave((3, 6, 4, 4))
    assert float(losses.feature_mse(f, f + 0.1 * wave((3, 6, 4, 4), torch.cos))) == pytest.approx(0.005008, **TOLERANCE)


X = torch.arange(9, dtype=D).view(1, 1, 3, 3) / 10
DOT = torch.zeros(1, 1, 3, 3, dtype=D)
DOT[0, 0, 1, 1] = 1


def test_W9_differences() -> None:
    difference = (X.unsqueeze(2) - pamr.neighbours(X, (1,))).abs()[0, 0]
    assert difference[:, 1, 1].tolist() == pytest.approx([0.4, 0.3, 0.2, 0.1, 0.1, 0.2, 0.3, 0.4])
    assert difference[:, 0, 0].tolist() == pytest.approx([0, 0, 0.1, 0, 0.1, 0.3, 0.3, 0.4])


def test_W10_deviations() -> None:
    expected = [0.158114, 0.173205, 0.158114, 0.264575, 0.273861, 0.264575, 0.158114, 0.173205, 0.158114]
    assert pamr.local_deviation(X, (1,)).flatten().tolist() == pytest.approx(expected, **TOLERANCE)


def test_W11_weights() -> None:
    weights = pamr.affinity(X, (1,))[0]
    half = [0.0000085, 0.000328, 0.012640, 0.487024]
    assert weights[:, 1, 1].tolist() == pytest.approx(half + half[::-1], abs=1e-6)
    corner = weights[:, 0, 0].tolist()
    assert [corner[i] for i in (0, 1, 3)] == pytest.approx([0.332936] * 3, **TOLERANCE)
    assert [corner[i] for i in (2, 4)] == pytest.approx([0.000597] * 2, **TOLERANCE)
    assert max(corner[i] for i in (5, 6, 7)) < 1e-8


def test_W12_iterations() -> None:
    once = wilson.pamr(X, DOT, 1, (1,))[0, 0]
    assert float(once[1, 1]) == 0
    assert [float(once[1, 0]), float(once[1, 2])] == pytest.approx([0.022309] * 2, **TOLERANCE)
    others = once.clone()
    others[1] = 0
    assert float(others.max()) < 2e-6
    ten = wilson.pamr(X, DOT, 10, (1,))[0, 0]
    assert float(ten[1, 1]) == pytest.approx(0.021078, **TOLERANCE)
    assert [float(ten[1, 0]), float(ten[1, 2])] == pytest.approx([0.021616] * 2, **TOLERANCE)
    both = wilson.pamr(X, torch.cat([DOT, 1 - DOT], 1), 10, (1,))
    assert both.sum(1).flatten().tolist() == pytest.approx([1.0] * 9)


def test_W13_constant_image() -> None:
    out = wilson.pamr(torch.full_like(X, 0.3), DOT, 1, (1,)).flatten().tolist()
    assert out == pytest.approx([0.125] * 4 + [0.0] + [0.125] * 4, abs=1e-9)


def test_W14_full_setting() -> None:
    image = 0.5 + 0.5 * wave((1, 3, 4, 4))
    out = wilson.pamr(image, wave((1, 3, 4, 4), torch.cos).softmax(1))
    assert out[0, :, 0, 0].tolist() == pytest.approx([0.502600, 0.071578, 0.425822], **TOLERANCE)
    assert float(out[0, 1, 2, 3]) == pytest.approx(0.217484, **TOLERANCE)
    assert out.mean((0, 2, 3)).tolist() == pytest.approx([0.322835, 0.375050, 0.302115], **TOLERANCE)
    assert pamr.affinity(image).shape[1] == 40


G15 = grid("1 0; 0 1", "0 1; 0 0", "0 0; 1 0")


def test_W15_pseudo_mask() -> None:
    masks = grid("0.9 0.5; 0.3 0.65", "0.05 0.45; 0.1 0.25", "0.05 0.05; 0.6 0.10")
    assert torch.equal(wilson.hard_pseudo_mask(masks), G15)


def test_W16_floor() -> None:
    masks = grid("0.9 0.7; 0.2 0.1", "0.1 0.3; 0.75 0.5", "0.15 0.18; 0.19 0.18")
    assert torch.equal(wilson.hard_pseudo_mask(masks), grid("1 1; 0 0", "0 0; 1 1", "0 0; 0 0"))


def test_W17_ambiguity() -> None:
    masks = t((0.60, 0.50), (0.35, 0.50), (0.05, 0))
    assert not wilson.hard_pseudo_mask(masks).any()
    loose = wilson.hard_pseudo_mask(masks, drop_ambiguous=False)
    assert loose[0, :2, 0].tolist() == [[1, 1], [1, 1]]


L18 = grid("2 0; 0 1", "0 1; 0 0", "0 0; 3 0")


def test_W18_self_supervision() -> None:
    yes, no = torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, 0.0]])
    assert float(wilson.self_supervised_loss(L18, G15, yes)) == pytest.approx(0.176054, **TOLERANCE)
    assert float(wilson.self_supervised_loss(L18, G15, no)) == 0
    pair = wilson.self_supervised_loss(L18.repeat(2, 1, 1, 1), G15.repeat(2, 1, 1, 1), torch.cat([yes, no]))
    assert float(pair) == pytest.approx(0.088027, **TOLERANCE)
    emptied = G15.clone()
    emptied[..., 1, 1] = 0
    assert float(wilson.self_supervised_loss(L18, emptied, yes)) == pytest.approx(0.110739, **TOLERANCE)
    assert float(wilson.self_supervised_loss(L18, G15, yes, n_old=2)) == pytest.approx(0.049318, **TOLERANCE)


def test_W19_tie() -> None:
    assert wilson.hard_maximum(t((0.5,), (0.5,), (0.1,))).flatten().tolist() == [1, 1, 0]


def test_W20_targets() -> None:
    q, old = t((0.55,), (0,), (0.45,)), t((1,), (-1,))
    target = wilson.combine_targets(q, old)
    assert target.flatten().tolist() == pytest.approx([0.55, 0.268941, 0.45], **TOLERANCE)
    loss = wilson.segmentation_loss(t((0.5,), (0,), (-0.5,)), target, torch.ones(1, dtype=D))
    assert float(loss) * (1 + 1e-5) == pytest.approx(2.091301, **TOLERANCE)
    assert float(wilson.combine_targets(q, old, 0.3)[0, 0]) == pytest.approx(0.676741, **TOLERANCE)


def test_W21_image_weight() -> None:
    localizer = torch.log(t((0.8,), (1e-9,), (0.15,), (0.05,)))
    labels = torch.tensor([[0.0, 1.0, 1.0]], dtype=D)
    assert float(wilson.image_weights(localizer, labels, 2, alpha=0.5)) == 1
    assert float(wilson.image_weights(localizer, labels, 2, alpha=1.0)) == 0


S22 = t((0, 1), (2, -1), (-1, 0.5))


def test_W22_base_loss() -> None:
    label = torch.tensor([[[1, 255]]])
    assert losses.summed_bce(S22, label, reduction="none").flatten().tolist() == pytest.approx(
        [1.133337, 0], **TOLERANCE
    )
    assert float(losses.summed_bce(S22, label)) == pytest.approx(0.566668, **TOLERANCE)
    assert float(losses.summed_bce(S22, label, reduction="mean_valid")) == pytest.approx(1.133337, **TOLERANCE)
    assert float(losses.summed_bce(S22, torch.tensor([[[1, 2]]]))) == pytest.approx(1.616969, **TOLERANCE)


P23, O24 = t((0.5,), (1,), (-1,), (2,)), t((1,), (0,), (-1,))


@pytest.mark.parametrize(("label", "expected"), [(3, 0.495182), (1, 0.940225), (0, 0.940225)])
def test_W23_unbiased_cross_entropy(label: int, expected: float) -> None:
    value = losses.unbiased_cross_entropy(P23, torch.tensor([[[label]]]), 3)
    assert float(value) == pytest.approx(expected, **TOLERANCE)


def test_W24_distillation() -> None:
    assert float(losses.knowledge_distillation(P23, O24)) == pytest.approx(0.355880, **TOLERANCE)
    assert float(losses.knowledge_distillation(P23, O24, 0.5)) == pytest.approx(0.393615, **TOLERANCE)
    assert float(losses.unbiased_knowledge_distillation(P23, O24)) == pytest.approx(0.292005, **TOLERANCE)
    assert float(losses.unbiased_knowledge_distillation(P23, O24, 0.5)) == pytest.approx(0.419779, **TOLERANCE)


@pytest.mark.parametrize(("r", "expected"), [(1, 2.496470), (0, 2.130941), (0.5, 2.313705), (-1, 2.496470)])
def test_W25_icarl_disjoint(r: float, expected: float) -> None:
    value = losses.icarl_disjoint(P23, torch.tensor([[[3]]]), O24, background=r)
    assert float(value) == pytest.approx(expected, **TOLERANCE)


def test_W25_icarl_combined() -> None:
    assert float(losses.icarl_combined(P23, O24)) == pytest.approx(2.004012, **TOLERANCE)


def test_W26_balanced_initialisation() -> None:
    heads = torch.nn.ModuleList([torch.nn.Conv2d(4, 3, 1), torch.nn.Conv2d(4, 5, 1)])
    with torch.no_grad():
        heads[0].bias[0] = 0.5
    balanced(heads)
    assert heads[1].bias.tolist() == pytest.approx([-1.291759] * 5, **TOLERANCE)
    assert heads[0].bias[0].item() == pytest.approx(-1.291759, **TOLERANCE)
    assert torch.equal(heads[1].weight, heads[0].weight[:1].expand(5, -1, -1, -1))


def step(alpha: float = 0.5, mix: float | None = None, refine: bool = True) -> dict[str, torch.Tensor]:
    """The whole weak step of checks 27-31, float32."""
    f32 = torch.float32
    images = wave((3, 3, 16, 16), scale=0.1, dtype=f32)
    p = (2 * wave((3, 5, 4, 4), shift=1)).to(f32).requires_grad_()
    o = (2 * wave((3, 3, 4, 4), shift=2)).to(f32)
    z = (3 * wave((3, 5, 4, 4), torch.cos, 0.5)).to(f32).requires_grad_()
    f = wave((3, 6, 4, 4), dtype=f32).requires_grad_()
    f_old = (wave((3, 6, 4, 4)) + 0.1 * wave((3, 6, 4, 4), torch.cos)).to(f32)
    y = torch.tensor([[0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 1, 1]], dtype=f32)
    with torch.no_grad():
        masks = z.softmax(1)
        masks = wilson.pamr(wilson.denormalise(images), masks) if refine else masks
        pseudo = wilson.hard_pseudo_mask(wilson.keep_labelled(masks, y))
        targets = wilson.soft_targets(z, o, y, alpha, mix)
        weights = wilson.image_weights(z, y, 2, alpha)
    return {
        "p": p, "f": f, "z": z, "y": y, "o": o, "pseudo": pseudo, "targets": targets,
        "cls": wilson.classification_loss(z, y[:, -2:]),
        "loc": wilson.localization_prior(z, o),
        "enc": losses.feature_mse(f, f_old),
        "sss": wilson.self_supervised_loss(z, pseudo, y),
        "seg": wilson.segmentation_loss(p, targets, weights),
    }  # fmt: skip


def test_W27_terms() -> None:
    s = step()
    got = [s[k].item() for k in ("cls", "loc", "enc")]
    assert got == pytest.approx([0.623545, 1.145887, 0.005008], **TOLERANCE)


def test_W28_pixels_per_channel() -> None:
    s = step()
    hard = wilson.hard_maximum(wilson.keep_labelled(s["z"].softmax(1), s["y"])).sum((2, 3))
    assert hard.int().tolist() == [[8, 0, 0, 8, 0], [6, 10, 0, 0, 0], [2, 0, 0, 6, 8]]
    assert s["pseudo"].sum((2, 3)).int().tolist() == [[4, 0, 0, 6, 0], [2, 2, 0, 0, 0], [0, 0, 0, 1, 2]]


def test_W29_targets_of_the_first_pixel() -> None:
    targets = step()["targets"]
    assert targets[0, :, 0, 0].tolist() == pytest.approx([0.774593, 0.182131, 0.742340, 0.048805, 0], **TOLERANCE)
    assert targets[1, :, 0, 0].tolist() == pytest.approx([0.004096, 0.486728, 0.651686, 0, 0], **TOLERANCE)


def test_W30_self_supervision_and_segmentation() -> None:
    assert step()["sss"].item() == pytest.approx(0.087264, abs=1e-4)
    assert step(refine=False)["sss"].item() == pytest.approx(0.100567, abs=1e-4)
    for alpha, expected in ((0.5, 3.703216), (0, 3.658709), (0.9, 3.753092), (1, 3.769132)):
        assert step(alpha)["seg"].item() == pytest.approx(expected, abs=1e-4)
    assert step(0.5, 0.5)["seg"].item() == pytest.approx(3.626044, abs=1e-4)
    s = step()
    early = s["cls"] + s["loc"] + s["enc"]
    assert early.item() == pytest.approx(1.774440, abs=1e-4)
    assert (early + s["sss"] + s["seg"]).item() == pytest.approx(5.564919, abs=1e-4)
    assert (wilson.classification_loss(s["z"], s["y"]) + s["loc"]).item() == pytest.approx(2.130402, abs=1e-4)
    # The two other poolings supervise the new classes alone, as the default does.
    new = [(wilson.classification_loss(s["z"], s["y"][:, -2:], kind) + s["loc"]).item() for kind in ("att", "mean")]
    assert new == pytest.approx([2.301088, 1.766787], abs=1e-4)


def test_W31_gradients() -> None:
    s = step()
    (s["cls"] + s["loc"] + s["enc"] + s["sss"] + s["seg"]).backward()
    norms = [float(s[k].grad.norm()) for k in ("p", "f", "z")]
    assert norms == pytest.approx([0.127451, 0.008340, 0.145464], abs=1e-5)
    s = step()
    (s["cls"] + s["loc"] + s["enc"]).backward()
    assert s["p"].grad is None
    assert [float(s[k].grad.norm()) for k in ("f", "z")] == pytest.approx([0.008340, 0.137524], abs=1e-5)


def test_pamr_runs_in_float32_under_autocast() -> None:
    image, masks = torch.rand(1, 3, 6, 6), torch.rand(1, 2, 6, 6)
    with torch.autocast("cpu", torch.bfloat16):
        inside = wilson.pamr(image, masks)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, wilson.pamr(image, masks))


def test_cross_entropy_agrees_with_the_library_without_ignored_pixels() -> None:
    target = torch.tensor([[[1, 2]]])
    assert float(losses.cross_entropy(S22, target)) == pytest.approx(float(F.cross_entropy(S22, target)))
