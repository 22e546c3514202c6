"""DeepLabV3 heads and the networks built with them (web_wilss.md 3.5, ciss_methods.md 3.1 and 3.4)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pipeline.models.norm import SLOPE, norm_act
from pipeline.models.pooling import pooled_context
from pipeline.models.registry import Parts, register
from pipeline.models.resnet import LAYERS, ResNetBody
from pipeline.models.wide_resnet import WideResNetBody

DILATIONS = {16: (6, 12, 18), 8: (12, 24, 32)}
"""Output stride -> dilations of the three 3x3 convolutions; 32, not 36, as in the released networks."""


def dilations_at(stride: int) -> tuple[int, ...]:
    """Return the dilations of a head at an output stride; other strides than 8 and 16 keep 16's reach in pixels."""
    return DILATIONS.get(stride) or tuple(max(1, 16 * dilation // stride) for dilation in DILATIONS[16])


class AsppHead(nn.Module):
    """Atrous pyramid whose fused branches and pooled context are summed (web_wilss.md 3.5); `channels` outputs.

    `window` is the side of a training crop's feature map: evaluation pools over windows of that size.
    """

    dual_groups = ((("branches.0", "branches.1", "branches.2", "branches.3"), "fuse.0.0"),)

    def __init__(self, channels_in: int, stride: int, window: int, channels: int = 256) -> None:
        super().__init__()
        self.channels, self.window = channels, window
        self.branches = _branches(channels_in, channels, stride)
        self.fuse = nn.Sequential(norm_act(4 * channels), nn.Conv2d(4 * channels, channels, 1, bias=False))
        self.pooled = nn.Sequential(
            nn.Conv2d(channels_in, channels, 1, bias=False),
            norm_act(channels),
            nn.Conv2d(channels, channels, 1, bias=False),
        )
        self.out = norm_act(channels)
        gain = nn.init.calculate_gain("leaky_relu", SLOPE)
        _initialise(self, lambda weight: nn.init.xavier_normal_(weight, gain))

    def forward(self, x: Tensor) -> Tensor:
        """Return pre-logits (B, channels, h, w). Raises ValueError for one image in training without `sync` norm."""
        fused = self.fuse(torch.cat([branch(x) for branch in self.branches], dim=1))
        context = _normalisable(self.pooled, pooled_context(x, self.window, self.training))
        result: Tensor = self.out(fused + context)
        return result


class ConcatenatedHead(nn.Module):
    """Atrous pyramid of SSUL: five normalised ReLU branches, projected 5·256 -> 256, dropout 0.1.

    The context branch is the global mean in training and in evaluation (ciss_methods.md 3.4).
    """

    dual_groups = tuple(((f"branches.{i}.0",), f"branches.{i}.1.0") for i in range(4))

    def __init__(self, channels_in: int, stride: int, channels: int = 256) -> None:
        super().__init__()
        self.channels = channels
        self.branches = nn.ModuleList(
            nn.Sequential(branch, norm_act(channels, 0)) for branch in _branches(channels_in, channels, stride)
        )
        self.pooled = nn.Sequential(nn.Conv2d(channels_in, channels, 1, bias=False), norm_act(channels, 0))
        self.fuse = nn.Sequential(
            nn.Conv2d(5 * channels, channels, 1, bias=False), norm_act(channels, 0), nn.Dropout(0.1)
        )
        _initialise(self, nn.init.kaiming_normal_)

    def forward(self, x: Tensor) -> Tensor:
        """Return pre-logits (B, channels, h, w). Raises ValueError for one image in training without `sync` norm."""
        context = _normalisable(self.pooled, x.mean(dim=(2, 3), keepdim=True)).expand(-1, -1, *x.shape[-2:])
        result: Tensor = self.fuse(torch.cat([*(branch(x) for branch in self.branches), context], dim=1))
        return result


class RefinedHead(ConcatenatedHead):
    """SSUL's pyramid followed by a 3x3 convolution, norm and ReLU (STAR, recent_methods.md 4.2): no output below 0."""

    def __init__(self, channels_in: int, stride: int, channels: int = 256) -> None:
        super().__init__(channels_in, stride, channels)
        self.refine = nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1, bias=False), norm_act(channels, 0))
        _initialise(self.refine, nn.init.kaiming_normal_)

    def forward(self, x: Tensor) -> Tensor:
        """Return pre-logits (B, channels, h, w). Raises ValueError for one image in training without `sync` norm."""
        result: Tensor = self.refine(super().forward(x))
        return result


def _branches(channels_in: int, channels: int, stride: int) -> nn.ModuleList:
    wide = [nn.Conv2d(channels_in, channels, 3, 1, d, d, bias=False) for d in dilations_at(stride)]
    return nn.ModuleList([nn.Conv2d(channels_in, channels, 1, bias=False), *wide])


def _initialise(head: nn.Module, start: Callable[[Tensor], Tensor]) -> None:
    for module in head.modules():
        if isinstance(module, nn.Conv2d):
            start(module.weight)


def _normalisable(branch: nn.Module, context: Tensor) -> Tensor:
    try:
        result: Tensor = branch(context)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise ValueError(
            "the head normalises one pooled vector per image, which a training batch of 1 image does not allow; "
            "use a batch of at least 2, or more than one process with the option norm: sync"
        ) from None
    return result


def _resnet(depth: int, stride: int, window: int) -> Parts:
    body = ResNetBody(LAYERS[depth], stride)
    return body, AsppHead(body.channels, stride, window)


@register("deeplabv3_resnet50")
def _resnet50(*, window: int = 32) -> Parts:
    return _resnet(50, 16, window)


@register("deeplabv3_resnet101")
def _resnet101(*, window: int = 32) -> Parts:
    return _resnet(101, 16, window)


@register("deeplabv3_resnet101_os8")
def _resnet101_os8(*, window: int = 64) -> Parts:
    return _resnet(101, 8, window)


@register("deeplabv3_wide_resnet38")
def _wide_resnet38(*, window: int = 56) -> Parts:
    body = WideResNetBody()
    return body, AsppHead(body.channels, body.stride, window)


def _torchvision_body() -> ResNetBody:
    body = ResNetBody(LAYERS[101], slope=0, late_dilation=True)
    for module in body.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.01
    return body


@register("deeplabv3_resnet101_ssul")
def _resnet101_ssul() -> Parts:
    body = _torchvision_body()
    return body, ConcatenatedHead(body.channels, body.stride)


@register("deeplabv3_resnet101_star")
def _resnet101_star() -> Parts:
    body = _torchvision_body()
    return body, RefinedHead(body.channels, body.stride)
