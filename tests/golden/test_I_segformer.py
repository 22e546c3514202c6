"""Checks I1, I2, I4, I5, I6 of ciss_methods.md: SegFormer's sizes, shapes and numbers."""

import pytest
import torch
from torch import nn

from pipeline.models.mix_transformer import EfficientAttention, MixTransformer
from pipeline.models.network import Features
from pipeline.models.segformer import SIZES, segformer
from pipeline.models.segformer_head import SatsHead
from tests.golden.inputs import S, near_single


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_I1_segformer_parameters() -> None:
    with torch.device("meta"):
        body, head = segformer("b2")
        classifier = nn.Conv2d(head.channels, 21, 1)
    assert [_size(body), _size(head), _size(classifier)] == [24_196_288, 525_568, 5_397]
    assert not list(body.buffers())


@pytest.mark.parametrize(("side", "keys"), [(512, 256), (256, 64)])
def test_I2_segformer_shapes(side: int, keys: int) -> None:
    with torch.device("meta"):
        body, head = segformer("b2")
        features = body(torch.empty(1, 3, side, side))
        decoded = head(features)
    sides = [side // stride for stride in (4, 8, 16, 32)]
    channels = (64, 128, 320, 512)
    assert [tuple(x.shape) for x in features.maps] == [(1, c, s, s) for c, s in zip(channels, sides, strict=True)]
    assert [tuple(x.shape) for x in features.attention] == [
        (1, h, s * s, keys) for h, s in zip((1, 2, 5, 8), sides, strict=True)
    ]
    assert features.body is features.maps[3]
    assert tuple(decoded.shape) == (1, 256, sides[0], sides[0])


def test_I4_stochastic_depth() -> None:
    with torch.device("meta"):
        body = MixTransformer(SIZES["b2"])
    rates = [block.drop_path.rate for stage in body.stages for block in stage.blocks]
    assert rates == pytest.approx([0.1 * i / 15 for i in range(16)])


def test_I5_efficient_attention() -> None:
    attention = EfficientAttention(4, heads=2, reduction=2)
    names = ["q.weight", "q.bias", "kv.weight", "kv.bias", "proj.weight", "proj.bias", "sr.weight", "sr.bias"]
    shapes = {name: tuple(tensor.shape) for name, tensor in attention.state_dict().items()}
    values = {name: S(shapes[name], 0.7 + 0.1 * i, 0.05 * i, torch.float32) for i, name in enumerate(names)}
    attention.load_state_dict({**attention.state_dict(), **values})
    tokens = S((1, 16, 4), 0.3, 0.2, torch.float32)
    out, weights = attention(tokens, (4, 4), need_map=True)
    assert tuple(weights.shape) == (1, 2, 16, 4)
    assert weights[0, 1, 5].tolist() == near_single(0.53383118, 0.02282390, 0.02093076, 0.42241424)
    expected = near_single(-1.8889362, 2.9550793, 1.4021714, -3.1847172)
    assert out[0, 0].tolist() == expected
    assert attention(tokens, (4, 4))[0][0, 0].tolist() == expected


def test_I6_sats_decoder() -> None:
    head = SatsHead((1, 1, 1, 1), channels=2)
    values = {"fuse.weight": S((2, 8, 1, 1), 0.4, 0.3), "fuse.bias": S((2,), 0.9, 0.1)}
    for i in range(4):
        values[f"stages.{i}.weight"] = S((2, 1, 1, 1), 0.5, 0.1 * (i + 1))
        values[f"stages.{i}.bias"] = S((2,), 0.3, 0.2 * i)
    head.load_state_dict({name: value.float() for name, value in values.items()})
    maps = [S((1, 1, 8 >> i, 8 >> i), 0.1 * (i + 1), 0.2, torch.float32) for i in range(4)]
    decoded = head(Features(maps[3], tuple(maps), ()))[0]
    assert decoded[:, 0, 0].tolist() == near_single(2.5106218, -1.4656284)
    assert decoded[:, 7, 7].tolist() == near_single(2.8705356, -1.8002143)
    assert decoded[0, 3, 4].item() == near_single(3.3615828)
    assert decoded.sum().item() == near_single(67.911301)
