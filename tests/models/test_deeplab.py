"""ResNet and Wide-ResNet bodies and the DeepLabV3 heads: layout, exposed maps, initialisation, norms."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models import build_model, names
from pipeline.models.deeplab import AsppHead, ConcatenatedHead, dilations_at
from pipeline.models.resnet import LAYERS, Bottleneck, ResNetBody
from pipeline.models.wide_resnet import A2, PreActivationBlock, Stage, WideResNetBody

torch.set_num_threads(1)
SMALL_WIDE = (Stage(1, (8, 8)), Stage(2, (16, 16), stride=2), Stage(1, (8, 16, 32), dilation=4, dropout=0.3))


def _geometry(body: nn.Module) -> list[list[tuple[int, int]]]:
    """Stride and dilation of the 3x3 convolution of every bottleneck, by stage."""
    stages: list[list[tuple[int, int]]] = []
    for stage in body.stages:  # type: ignore[union-attr]
        stages.append([(block.conv2.stride[0], block.conv2.dilation[0]) for block in stage])
    return stages


@pytest.mark.parametrize(
    ("stride", "first", "rest"),
    [(16, [(1, 1), (2, 1), (2, 1), (1, 2)], [1, 1, 1, 2]), (8, [(1, 1), (2, 1), (1, 2), (1, 4)], [1, 1, 2, 4])],
)
def test_strides_sit_on_3x3_and_every_block_is_dilated(stride: int, first: list[tuple[int, int]], rest: list[int]):
    with torch.device("meta"):
        body = ResNetBody(LAYERS[50], stride)
    geometry = _geometry(body)
    assert [stage[0] for stage in geometry] == first
    assert [stage[1:] for stage in geometry] == [[(1, d)] * (n - 1) for d, n in zip(rest, LAYERS[50], strict=True)]
    for stage in body.stages:
        blocks = [block for block in stage if isinstance(block, Bottleneck)]
        assert [block.projects for block in blocks] == [True] + [False] * (len(blocks) - 1)
        assert blocks[0].project.stride == blocks[0].conv2.stride
        assert {block.conv1.stride for block in blocks} == {(1, 1)}


def test_unknown_stride() -> None:
    with pytest.raises(ValueError, match="output stride 4 does not exist, expected 8 or 16"):
        ResNetBody(LAYERS[50], 4)


def test_maps_are_sums_before_activation_and_survive_it() -> None:
    body = ResNetBody((1, 2, 1, 1)).eval()
    features = body(torch.randn(1, 3, 64, 64))
    assert all((x < 0).float().mean() > 0.1 for x in features.maps)
    torch.testing.assert_close(features.body, F.leaky_relu(features.maps[-1], 0.01))


def test_gradients_reach_every_parameter_through_maps_and_logits() -> None:
    for body in (ResNetBody((1, 2, 1, 1)), WideResNetBody(SMALL_WIDE)):
        features = body(torch.randn(2, 3, 32, 32))
        (features.body.square().mean() + sum(x.square().mean() for x in features.maps)).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in body.parameters())


def test_basic_pre_activation_block() -> None:
    block = PreActivationBlock(4, Stage(1, (6, 8), stride=2, dilation=2), stride=2).eval()
    x = torch.randn(2, 4, 12, 12)
    active = F.leaky_relu(block.norm1(x), 0.01)
    inner = F.leaky_relu(block.norm2(F.conv2d(active, block.conv1.weight, None, 2, 2, 2)), 0.01)
    expected = F.conv2d(inner, block.conv2.weight, None, 1, 2, 2) + F.conv2d(active, block.project.weight, None, 2)
    torch.testing.assert_close(block(x), expected)


def test_bottleneck_pre_activation_block_with_an_identity_shortcut() -> None:
    block = PreActivationBlock(8, Stage(1, (4, 4, 8), dilation=4, dropout=0.5), stride=1).eval()
    x = torch.randn(2, 8, 6, 6)
    kept = x.clone()
    y = F.conv2d(F.leaky_relu(block.norm1(x), 0.01), block.conv1.weight)
    y = F.conv2d(F.leaky_relu(block.norm2(y), 0.01), block.conv2.weight, None, 1, 4, 4)
    y = F.conv2d(F.leaky_relu(block.norm3(y), 0.01), block.conv3.weight)
    assert not block.projects
    torch.testing.assert_close(block(x), y + x)
    assert torch.equal(x, kept)


def test_dropout_takes_whole_channels_before_the_last_convolution() -> None:
    block = PreActivationBlock(8, Stage(1, (4, 64, 8), dropout=0.5), stride=1).train()
    seen: list[Tensor] = []
    block.conv3.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    block(torch.randn(4, 8, 6, 6))
    empty = (seen[0] == 0).flatten(2)
    assert torch.equal(empty.all(dim=2), empty.any(dim=2)) and 0.2 < empty.float().mean() < 0.8


def test_wide_network_layout() -> None:
    with torch.device("meta"):
        body = WideResNetBody()
    assert [len(stage) for stage in body.stages] == [3, 3, 6, 3, 1, 1]  # type: ignore[arg-type]
    assert [stage[-1].dropout.p for stage in body.stages] == [0, 0, 0, 0, 0.3, 0.5]  # type: ignore[index]
    assert (body.stride, body.channels, A2[3].widths) == (8, 4096, (512, 1024))
    assert body.stages[2][0].conv1.stride == (2, 2)  # type: ignore[index]
    assert body.stages[5][0].conv2.dilation == (4, 4)  # type: ignore[index]


def test_wide_body_is_its_last_map_normalised_and_activated() -> None:
    body = WideResNetBody(SMALL_WIDE).eval()
    body.norm.bias.data.normal_()
    features = body(torch.randn(1, 3, 32, 32))
    torch.testing.assert_close(features.body, F.leaky_relu(body.norm(features.maps[-1]), 0.01))
    assert [x.shape[1:] for x in features.maps] == [(8, 16, 16), (16, 4, 4), (32, 4, 4)]


def test_dilations_of_the_head() -> None:
    assert [dilations_at(stride) for stride in (8, 16, 32)] == [(12, 24, 32), (6, 12, 18), (3, 6, 9)]


def test_head_is_the_sum_of_fused_branches_and_context() -> None:
    head = AsppHead(8, stride=16, window=4, channels=6).eval()
    x = torch.randn(2, 8, 5, 7)
    first, *wide = [branch.weight for branch in head.branches]
    sides = [F.conv2d(x, w, None, 1, d, d) for w, d in zip(wide, (6, 12, 18), strict=True)]
    sides = [F.conv2d(x, first), *sides]
    main = F.conv2d(F.leaky_relu(head.fuse[0][0](torch.cat(sides, 1)), 0.01), head.fuse[1].weight)
    pooled = F.pad(F.avg_pool2d(x, 4, 1), (1, 2, 1, 2), mode="replicate")
    context = F.leaky_relu(head.pooled[1][0](F.conv2d(pooled, head.pooled[0].weight)), 0.01)
    context = F.conv2d(context, head.pooled[2].weight)
    torch.testing.assert_close(head(x), F.leaky_relu(head.out[0](main + context), 0.01))


def test_evaluation_on_a_training_sized_map_equals_the_global_mean() -> None:
    head = AsppHead(8, stride=16, window=4, channels=6).eval()
    x = torch.randn(2, 8, 4, 4)
    wide = AsppHead(8, stride=16, window=99, channels=6).eval()
    wide.load_state_dict(head.state_dict())
    torch.testing.assert_close(head(x), wide(x))
    assert not torch.allclose(head(F.interpolate(x, scale_factor=2)), wide(F.interpolate(x, scale_factor=2)))


def test_head_starts_from_xavier_with_the_gain_of_the_leaky_relu() -> None:
    head = AsppHead(64, stride=16, window=4, channels=128)
    gain = math.sqrt(2 / (1 + 0.01**2))
    for convolution in (module for module in head.modules() if isinstance(module, nn.Conv2d)):
        outputs, inputs, *kernel = convolution.weight.shape
        expected = gain * math.sqrt(2 / ((inputs + outputs) * math.prod(kernel)))
        assert convolution.weight.std().item() == pytest.approx(expected, rel=0.05)
    for norm in (module for module in head.modules() if isinstance(module, nn.BatchNorm2d)):
        assert norm.weight.eq(1).all() and norm.bias.eq(0).all() and norm.eps == 1e-5 and norm.momentum == 0.1


def test_ssul_network() -> None:
    with torch.device("meta"):
        model = build_model("deeplabv3_resnet101_ssul", [1, 1, 15], classifier="conv")
    assert isinstance(model.head, ConcatenatedHead) and model.body.slope == 0
    assert _geometry(model.body)[3] == [(1, 1), (1, 2), (1, 2)]
    momenta = [{m.momentum for m in part.modules() if isinstance(m, nn.BatchNorm2d)} for part in model.children()]
    assert momenta == [{0.01}, {0.1}, {0.1}]
    assert model.head.fuse[0].in_channels == 1280 and model.head.fuse[2].p == 0.1


def test_ssul_head_reads_the_global_mean() -> None:
    head = ConcatenatedHead(4, stride=16, channels=6).eval()
    x = torch.randn(2, 4, 3, 5)
    context = head.pooled(x.mean(dim=(2, 3), keepdim=True)).expand(2, 6, 3, 5)
    expected = head.fuse(torch.cat([*(branch(x) for branch in head.branches), context], dim=1))
    torch.testing.assert_close(head(x), expected)
    assert head(x).min() == 0


@pytest.mark.parametrize("head", [AsppHead(4, 16, 4, channels=6), ConcatenatedHead(4, 16, channels=6)])
def test_one_image_cannot_train_the_pooled_norm(head: nn.Module) -> None:
    with pytest.raises(ValueError, match="training batch of 1 image does not allow; use a batch of at least 2"):
        head.train()(torch.randn(1, 4, 5, 5))


def test_synchronised_norms_compute_the_same_in_one_process() -> None:
    plain = build_model("small_cnn", [3, 2], classifier="conv")
    sync = build_model("small_cnn", [3, 2], classifier="conv", options={"norm": "sync"})
    sync.load_state_dict(plain.state_dict())
    for part in sync.children():
        kinds = {type(module) for module in part.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)}
        assert kinds == {nn.SyncBatchNorm}
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(sync(x).logits, plain(x).logits)


def test_options_and_their_mistakes() -> None:
    with torch.device("meta"):
        assert build_model("deeplabv3_resnet50", [16], options={"window": 24}).head.window == 24
    with pytest.raises(ValueError, match="deeplabv3_resnet50 has no option `windw`; did you mean `window`"):
        build_model("deeplabv3_resnet50", [16], options={"windw": 24})
    with pytest.raises(ValueError, match="small_cnn has no option `nrm`; did you mean `norm`"):
        build_model("small_cnn", [16], options={"nrm": "sync"})
    with pytest.raises(ValueError, match="unknown norm `synch`, expected plain or sync"):
        build_model("small_cnn", [16], options={"norm": "synch"})
    with pytest.raises(ValueError, match="did you mean `deeplabv3_resnet101`"):
        build_model("deeplabv3_resnet102", [16])
    assert {"deeplabv3_resnet50", "deeplabv3_resnet101_os8", "timm:<name>"} <= set(names())
