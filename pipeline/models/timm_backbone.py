"""Any feature backbone of the timm library under the DeepLabV3 head: `timm:<name>`.

timm is optional. Nothing is downloaded: networks start from random weights, pretrained.py reads files.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.config import nearest
from pipeline.models.deeplab import AsppHead
from pipeline.models.network import Features
from pipeline.models.registry import Parts, register

_CROP = 512
_FLEXIBLE: tuple[dict[str, Any], ...] = (
    {"output_stride": 16},
    {"dynamic_img_size": True, "dynamic_img_pad": True},
    {"strict_img_size": False},
    {},
)
"""What a network may understand, best first: dilation to stride 16, or images of any size for transformers."""


class TimmBody(nn.Module):
    """A timm network's feature maps; the last one is `body`, of `channels` at `stride`.

    `output_stride` None takes 16 where the architecture can be dilated and its own stride otherwise. `arguments` go
    to timm's `create_model`. The `maps` are what timm hands out, after activation for most networks.
    Raises ValueError if timm is not installed, or has no such network, stride or argument.
    """

    def __init__(self, name: str, output_stride: int | None = None, arguments: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.name = name
        self.net = _create(name, output_stride, arguments or {})
        info: Any = self.net.feature_info
        self.channels, self.stride = int(info.channels()[-1]), int(info.reduction()[-1])
        self._channels_last = str(getattr(self.net, "output_fmt", "")).endswith("NHWC")

    def forward(self, images: Tensor) -> Features:
        """Return Features of normalised images (B, 3, H, W)."""
        maps: Sequence[Tensor] = self.net(images)
        if self._channels_last:
            maps = [x.permute(0, 3, 1, 2).contiguous() for x in maps]
        return Features(maps[-1], tuple(maps), ())

    def convert(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return timm's weights of the whole network under this body's names.

        Parts that feature extraction leaves out are dropped. Raises ValueError for a name that timm's network
        does not have.
        """
        with torch.device("meta"):
            whole = _timm().create_model(self.name, pretrained=False).state_dict()
        for key in weights:
            if key not in whole:
                raise ValueError(f"timm's {self.name} has no tensor `{key}`; {nearest(key, whole)}")
        ours = {_plain(key): key for key in self.state_dict()}
        return {ours[_plain(key)]: value for key, value in weights.items() if _plain(key) in ours}

    @staticmethod
    def convert_sync_batchnorm(module: nn.Module) -> nn.Module:
        """Return the module with synchronised norms; timm's own keep the activation that some of its norms hold."""
        converted: nn.Module = importlib.import_module("timm.layers").convert_sync_batchnorm(module)
        return converted


def _plain(key: str) -> str:
    # Feature extraction wraps a network in `model.` or turns the dots of outer names into underscores.
    return re.sub(r"^(net\.)?(model\.)?", "", key).replace("_", ".")


def _timm() -> Any:
    try:
        return importlib.import_module("timm")
    except ImportError:
        raise ValueError(
            "backbones `timm:<name>` need the package timm, which is not installed; run `pip install timm==1.0.31`"
        ) from None


def _create(name: str, output_stride: int | None, arguments: Mapping[str, Any]) -> nn.Module:
    timm = _timm()
    if not timm.is_model(name):
        raise ValueError(f"timm has no network `{name}`; {_nearest_network(name, timm)}")
    attempts = _FLEXIBLE if output_stride is None else ({"output_stride": output_stride},)
    for attempt in attempts:
        try:
            net: nn.Module = timm.create_model(name, pretrained=False, features_only=True, **{**attempt, **arguments})
        except (TypeError, AssertionError, ValueError, NotImplementedError, RuntimeError, AttributeError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            continue
        if output_stride is None or net.feature_info.reduction()[-1] == output_stride:  # type: ignore[union-attr,operator]
            return net
        reason = f"its features stay at stride {net.feature_info.reduction()[-1]}"  # type: ignore[union-attr,operator]
    wanted = f" with output_stride {output_stride}" if output_stride else ""
    raise ValueError(
        f"timm cannot build features of `{name}`{wanted} ({reason}); choose another network, stride or `arguments`"
    )


def _nearest_network(name: str, timm: Any) -> str:
    family = [known for known in timm.list_models() if known[:3] == name[:3]]
    return nearest(name, family) if family else "timm.list_models() lists them"


@register("timm:")
def _build(
    name: str,
    *,
    output_stride: int | None = None,
    arguments: Mapping[str, Any] | None = None,
    window: int | None = None,
) -> Parts:
    body = TimmBody(name, output_stride, arguments)
    return body, AsppHead(body.channels, body.stride, window or _CROP // body.stride)
