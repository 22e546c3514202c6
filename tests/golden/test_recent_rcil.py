"""Checks C1-C11 of recent_methods.md 5.9: RCIL."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline import losses
from pipeline.losses.pooled_cube import pooled_cube, pooled_over_channels, pooled_over_space
from pipeline.methods import StepInfo, get, settings_of
from pipeline.models import build_model
from pipeline.models.dual import DualConv, doubled, dual_convolutions, split_branches
from pipeline.models.resnet import ResNetBody
from tests.golden.inputs import LAB, NEW, OLD, S, near

X = S((1, 4, 3, 3), 0.4, 0.3)


class Block:
    """The residual block of the check: 1x1, two branches of 3x3, 1x1, shortcut; in-place norms' |weight| + 1e-5."""

    def __init__(self) -> None:
        self.conv1, self.norm1 = nn.Conv2d(4, 2, 1, bias=False).double(), nn.BatchNorm2d(2).double()
        self.conv3, self.norm3 = nn.Conv2d(2, 4, 1, bias=False).double(), nn.BatchNorm2d(4).double()
        conv, norm = nn.Conv2d(2, 2, 3, padding=1, bias=False).double(), nn.BatchNorm2d(2).double()
        self.dual = DualConv(conv, norm)
        norms = (self.norm1, self.dual.norm, self.norm3, self.dual.norm_new)
        convolutions = (self.conv1, self.dual.conv, self.conv3, self.dual.conv_new)
        with torch.no_grad():
            for number, (conv, norm) in enumerate(zip(convolutions, norms, strict=True)):
                self._fill(3 * number, number, conv, norm)
        for norm in norms:
            norm.eval()

    def _fill(self, first: int, number: int, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        values = [0.3 * S(tuple(p.shape), 0.7 + 0.01 * (first + k), 0.1 * (first + k))
                  for k, p in enumerate((conv.weight, norm.weight, norm.bias))]  # fmt: skip
        conv.weight.copy_(values[0])
        norm.weight.copy_((1 + 0.5 * values[1]).abs() + 1e-5)
        norm.bias.copy_(values[2])
        size = (norm.num_features,)
        norm.running_mean.copy_(0.1 * S(size, 0.5, 0.6 * number))
        norm.running_var.copy_(1 + (0.5 * S(size, 0.6, 0.1 * (3 * number + 1))).abs())

    def inside(self) -> Tensor:
        return F.leaky_relu(self.norm1(self.conv1(X)), 0.01)

    def branches(self) -> tuple[Tensor, Tensor]:
        inside, dual = self.inside(), self.dual
        return dual.norm(dual.conv(inside)), dual.norm_new(dual.conv_new(inside))

    def output(self, mixed: Tensor | None = None) -> Tensor:
        mixed = self.dual(self.inside()) if mixed is None else mixed
        summed = self.norm3(self.conv3(F.leaky_relu(mixed, 0.01))) + X
        return F.leaky_relu(summed, 0.01)

    def drawn(self, monkeypatch: pytest.MonkeyPatch, *r: float) -> Tensor:
        monkeypatch.setattr(torch, "rand", lambda *size, **options: torch.tensor(r, dtype=torch.float64))
        self.dual.train()
        for norm in (self.dual.norm, self.dual.norm_new):
            norm.eval()
        return self.output()


@pytest.fixture
def block() -> Any:
    found = Block()
    found.dual.eval()
    with torch.no_grad():
        yield found


def test_XC1_block(block: Block) -> None:
    output = block.output()
    assert output[0, :, 1, 1].tolist() == near(1.15370311, -0.00447260, 0.38282302, 0.03906699)
    assert output.sum().item() == near(15.53415238)
    assert [branch.sum().item() for branch in block.branches()] == near(2.41589459, 3.13839499)
    # The released block returns the activated map as the one before activation: `maps: post` activates ours.
    stages = (X - 0.5,) * 4
    found = get("rcil")(settings_of("rcil", {}), StepInfo("voc", "x", 1, (3, 2), 1, 0))._maps(
        type("Output", (), {"maps": (*stages, X), "attention": (), "logits": X})()
    )
    assert torch.equal(found[0], F.leaky_relu(X - 0.5, 0.01)) and found[4] is X and len(found) == 6


def test_XC2_merged_kernel(block: Block) -> None:
    first, second = block.branches()
    block.dual.merge()
    kernel, bias = block.dual.conv.weight, block.dual.conv.bias
    assert kernel.flatten()[:4].tolist() == near(0.15394503, 0.26524687, 0.22973336, 0.06993851)
    assert bias is not None and bias.tolist() == near(0.13224907, 0.20642756)
    assert (block.branches()[0] - (first + second) / 2).abs().max() < 1e-12
    assert not kernel.requires_grad and not bias.requires_grad


def test_XC3_student_before_training(block: Block) -> None:
    block.dual.merge()
    output = block.output()
    assert output[0, :, 1, 1].tolist() == near(1.15099259, -0.00446493, 0.38551601, 0.03860589)
    assert output.sum().item() == near(15.50601258)


def test_XC4_merged_twice(block: Block) -> None:
    block.dual.merge()
    block.dual.merge()
    assert block.dual.conv.bias is not None
    assert block.dual.conv.bias.tolist() == near(0.15379797, 0.20977374)
    assert block.output().sum().item() == near(15.49220878)


def test_XC5_training_mix(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    # The block of C1: its values are met before merging, not after.
    found = block.drawn(monkeypatch, 0.2, 0.5)
    assert found[0, :, 1, 1].tolist() == near(1.14349374, -0.00452886, 0.39212296, 0.04531547)
    assert found.sum().item() == near(15.50493035)
    found = block.drawn(monkeypatch, 0.329, 0.661)
    assert found[0, :, 1, 1].tolist() == near(1.15130895, -0.00450840, 0.38478000, 0.04265233)
    assert found.sum().item() == near(15.55044846)


def normed(module: nn.Module) -> None:
    """Random norms everywhere, so that merging has something to fold."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for tensor in (norm.weight, norm.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
            for tensor in (norm.bias, norm.running_mean):
                nn.init.normal_(tensor)


class Aspp(nn.Module):
    """Four convolutions and one norm over all their channels, as the head has them."""

    dual_groups = ((("branches.0", "branches.1", "branches.2", "branches.3"), "norm"),)

    def __init__(self) -> None:
        super().__init__()
        wide = [nn.Conv2d(3, 2, 3, 1, d, d, bias=False) for d in (1, 2, 3)]
        self.branches = nn.ModuleList([nn.Conv2d(3, 2, 1, bias=False), *wide])
        self.norm: nn.Module = nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.norm(torch.cat([branch(x) for branch in self.branches], dim=1))
        return result


@torch.no_grad()
def test_XC6_head() -> None:
    torch.manual_seed(0)
    head, x = Aspp().double(), torch.randn(1, 3, 6, 6, dtype=torch.float64)
    split_branches(head, nn.Module(), "toy")
    head.double()
    normed(head)
    head.eval()
    duals = list(dual_convolutions(head))
    assert len(duals) == 4 and isinstance(head.norm, nn.Identity)
    joint = [
        F.batch_norm(
            torch.cat([getattr(dual, conv)(x) for dual in duals], dim=1),
            *(torch.cat([getattr(getattr(dual, norm), name) for dual in duals])
              for name in ("running_mean", "running_var", "weight", "bias")),
        )
        for conv, norm in (("conv", "norm"), ("conv_new", "norm_new"))
    ]  # fmt: skip
    for dual in duals:
        dual.merge()
    first = torch.cat([dual.norm(dual.conv(x)) for dual in duals], dim=1)
    assert (first - (joint[0] + joint[1]) / 2).abs().max() < 1e-12


TEACHER = [S((1, 2, 4, 4), 0.5, 0.1), S((1, 2, 4, 4), 0.4, 0.3), S((1, 3, 4, 4), 0.3, 0.2)]
STUDENT = [S((1, 2, 4, 4), 0.52, 0.15), S((1, 2, 4, 4), 0.43, 0.35), S((1, 5, 4, 4), 0.33, 0.4)]


def test_XC7_distances() -> None:
    space, channel = (x.item() for x in pooled_cube(STUDENT, TEACHER, growth=5 / 2))
    assert [space, channel, space + channel] == pytest.approx([5.34232397e-4, 4.263210112e-3, 4.797442509e-3], rel=2e-6)
    ade = settings_of("rcil", {}, "ade", "100-50", "deeplabv3_resnet101")
    factors = {"factor": ade.pooled_factor, "last_factor": ade.last_factor}
    space, channel = (x.item() for x in pooled_cube(STUDENT, TEACHER, growth=5 / 2, **factors))
    assert [space, channel, space + channel] == pytest.approx([2.88822e-7, 2.374209e-6, 2.663031e-6], rel=2e-6)


def test_XC8_pooling() -> None:
    first = TEACHER[0].square()
    assert pooled_over_space(first, 4)[0, 0, 0, :3].tolist() == near(0.08372874, 0.13347746, 0.20816320)
    assert pooled_over_space(first, 24)[0, 0, 2, 2].item() == near(0.01361414)
    assert {tuple(pooled_over_space(first, w).shape[-2:]) for w in (4, 8, 12, 16, 20, 24)} == {(5, 5)}
    assert pooled_over_channels(TEACHER[2].square())[0, 0].tolist() == near(0.31966842, 0.36443741, 0.35128091)


def test_XC9_two_layers_and_images() -> None:
    student, teacher = S((2, 2, 26, 26), 0.52, 0.15), S((2, 2, 26, 26), 0.5, 0.1)
    space, _ = pooled_cube([student] * 2, [teacher] * 2, growth=1)
    assert space.item() == pytest.approx(4.265689699e-3, rel=2e-6)


def test_XC10_unbiased_terms() -> None:
    unce = losses.unbiased_cross_entropy(NEW, LAB, 3).item()
    unkd = losses.unbiased_knowledge_distillation(NEW, OLD).item()
    assert [unce, unkd] == near(1.07702187, 0.66025574)
    assert unce + settings_of("rcil", {}).loss_kd * unkd == near(67.1025955)


def test_XC11_shares() -> None:
    torch.manual_seed(0)
    share = DualConv(nn.Conv2d(1, 1, 3), nn.BatchNorm2d(1)).share(torch.rand(200_000))
    found = [(share == value).float().mean().item() for value in (1, 0, 0.5)]
    assert found == pytest.approx([0.33, 0.33, 0.34], abs=0.005)


@pytest.mark.parametrize("backbone", ["small_cnn", "small_segformer", "segformer_b0"])
@pytest.mark.parametrize("branch", ["inherit", "merged"])
def test_a_step_begins_from_the_merged_network(backbone: str, branch: str) -> None:
    torch.manual_seed(0)
    teacher = build_model(backbone, [16], options={"branches": 2})
    normed(teacher)
    for parameter in teacher.parameters():  # both branches alike would hide a wrong merge
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    teacher.double().eval()
    model = build_model(backbone, [16, 5], options={"branches": 2}).double()
    model.load_state_dict(teacher.state_dict(), strict=False)
    info = StepInfo("voc", "15-5", 1, (16, 5), 1, 0, backbone)
    method = get("rcil")(settings_of("rcil", {"new_branch": branch}), info)
    method.init_classifier(model)
    model.eval()
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        old, new = teacher(images).logits, model(images).logits[:, :16]
    equal = torch.allclose(old, new, atol=1e-7 * float(old.abs().max()), rtol=1e-6)
    assert equal == (branch == "merged"), "as released, the student begins as another network than its teacher"
    assert torch.equal(model.classifiers[1].weight[0], model.classifiers[0].weight[0])
    frozen = {name: value.clone() for name, value in model.state_dict().items() if ".conv." in name or ".norm." in name}
    kept = {id(p) for dual in dual_convolutions(model) for m in (dual.conv, dual.norm) for p in m.parameters()}
    method.train_mode(model)
    groups = method.param_groups(model, None, 0.1)
    assert not kept & {id(p) for group in groups for p in group["params"]}
    model(images).logits.square().mean().backward()
    torch.optim.SGD(groups).step()
    inside = [name for name in frozen if any(name.startswith(f"{path}.") for path, module in model.named_modules()
                                             if isinstance(module, DualConv))]  # fmt: skip
    assert inside and all(torch.equal(model.state_dict()[name], frozen[name]) for name in inside)


def test_wide_resnet_cannot_be_merged() -> None:
    with pytest.raises(ValueError, match="deeplabv3_wide_resnet38 has no convolution that two branches"):
        build_model("deeplabv3_wide_resnet38", [2], options={"branches": 2})


def test_imagenet_weights_go_into_both_branches() -> None:
    torch.manual_seed(0)
    plain, dual = ResNetBody((1, 1, 1, 1)), ResNetBody((1, 1, 1, 1))
    normed(plain)
    split_branches(dual, nn.Module(), "toy")
    weights = doubled(dual, plain.state_dict())
    assert weights.keys() == dual.state_dict().keys()
    dual.load_state_dict(weights)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected, found = plain.eval()(x).body, dual.eval()(x).body
    assert torch.allclose(found, expected, atol=1e-5 * float(expected.abs().max()))
