"""Checks I1 and I3 of ciss_methods.md, W44 of web_wilss.md: parameters and shapes of the DeepLabV3 networks."""

import pytest
import torch
from torch import nn

from pipeline.methods.wilson import Localizer
from pipeline.models import build_model


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _shapes(backbone: str, side: int) -> list[tuple[int, ...]]:
    with torch.device("meta"):
        output = build_model(backbone, [16, 5]).eval()(torch.empty(2, 3, side, side))
    return [tuple(x.shape[1:]) for x in (*output.maps, output.body, output.logits)]


def test_I1_deeplab_parameters() -> None:
    with torch.device("meta"):
        model = build_model("deeplabv3_resnet101", [21])
    assert [_size(model.body), _size(model.head), _size(model.classifiers)] == [42_500_160, 15_535_104, 5_397]


def test_I3_deeplab_shapes() -> None:
    sides = [(256, 128, 128), (512, 64, 64), (1024, 32, 32), (2048, 32, 32), (256, 32, 32)]
    assert _shapes("deeplabv3_resnet101", 512) == [*sides, (2048, 32, 32), (21, 32, 32)]


@pytest.mark.parametrize(
    ("backbone", "classes", "expected"),
    [
        ("deeplabv3_resnet101", [16], (42_500_160, 15_535_104, 4_112, 58_039_376)),
        ("deeplabv3_resnet101", [16, 5], (42_500_160, 15_535_104, 5_397, 58_040_661)),
        ("deeplabv3_wide_resnet38", [61, 20], (105_070_912, 30_739_456, 20_817, 135_831_185)),
    ],
)
def test_W44_parameters(backbone: str, classes: list[int], expected: tuple[int, ...]) -> None:
    with torch.device("meta"):
        model = build_model(backbone, classes)
    assert (_size(model.body), _size(model.head), _size(model.classifiers), _size(model)) == expected


@pytest.mark.parametrize(
    ("channels", "classes", "expected"), [(2048, 16, 5_313_552), (2048, 21, 5_314_837), (4096, 81, 10_048_849)]
)
def test_W44_localizer_parameters(channels: int, classes: int, expected: int) -> None:
    with torch.device("meta"):
        assert _size(Localizer(channels, classes)) == expected


@pytest.mark.parametrize(
    ("backbone", "body"),
    [
        ("deeplabv3_resnet101", (2048, 4, 4)),
        ("deeplabv3_resnet101_os8", (2048, 8, 8)),
        ("deeplabv3_wide_resnet38", (4096, 8, 8)),
    ],
)
def test_W44_shapes_of_a_64_pixel_input(backbone: str, body: tuple[int, ...]) -> None:
    *_, pre_logits, features, logits = _shapes(backbone, 64)
    assert features == body
    assert pre_logits == (256, *body[1:]) and logits == (21, *body[1:])
