"""A small SegFormer that trains from scratch on two CPU cores with SGD, for attention transfer without a GPU.

The Mix Transformer of SegFormer except for what SGD needs to learn in a minute: a stem of three convolutions,
batch norm inside the feed-forward, and the small CNN's top-down path and head.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.mix_transformer import EMBEDDING_EPS, Grid, MixTransformer, MixTransformerSize, to_map, to_tokens
from pipeline.models.network import Features
from pipeline.models.norm import norm_act
from pipeline.models.registry import Parts, register
from pipeline.models.small_cnn import SmallHead

SIZE = MixTransformerSize(
    dims=(32, 48, 96, 128), depths=(1, 1, 1, 1), heads=(1, 2, 3, 4), reductions=(4, 2, 1, 1), mlp_ratio=2
)


class ConvEmbedding(nn.Module):
    """Three 3x3 convolutions to stride 4 and layer norm."""

    dual_groups = ((("stem.0",), "stem.1.0"), (("stem.2",), "stem.3.0"), (("stem.4",), ""))

    def __init__(self, channels: int, width: int = 24) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, 2, 1, bias=False),
            norm_act(width),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            norm_act(width),
            nn.Conv2d(width, channels, 3, 2, 1, bias=False),
        )
        self.norm = nn.LayerNorm(channels, eps=EMBEDDING_EPS)

    def forward(self, images: Tensor) -> tuple[Tensor, Grid]:
        """Return the tokens (B, L, C) of images and their grid."""
        x = self.stem(images)
        return self.norm(to_tokens(x)), (x.shape[2], x.shape[3])


class NormalisedFeedForward(nn.Module):
    """Mix feed-forward with batch norm after every convolution, leaky ReLU for GELU."""

    dual_groups = ((("layers.2",), "layers.3.0"),)

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, hidden, 1, bias=False),
            norm_act(hidden),
            nn.Conv2d(hidden, hidden, 3, 1, 1, groups=hidden, bias=False),
            norm_act(hidden),
            nn.Conv2d(hidden, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        """Return new tokens (B, L, C)."""
        return to_tokens(self.layers(to_map(tokens, grid)))


class SmallSegformerBody(nn.Module):
    """A one-block-per-stage Mix Transformer; a top-down path brings its maps to `channels` outputs at stride 4.

    Features.body is that path's output, at the logits' resolution as a weakly supervised localizer needs it;
    Features.maps and Features.attention are the four stages'.
    """

    def __init__(self, size: MixTransformerSize = SIZE, channels: int = 96) -> None:
        super().__init__()
        self.channels, self.stride = channels, 4
        self.encoder = MixTransformer(size, 0.0, ConvEmbedding(size.dims[0]), NormalisedFeedForward)
        self.lateral = nn.ModuleList(nn.Conv2d(dim, channels, 1, bias=False) for dim in size.dims)
        self.out = norm_act(channels)
        for module in self.encoder.modules():
            # A convolution before a norm learns faster from small weights: SGD's relative step is larger.
            if isinstance(module, nn.Conv2d):
                module.reset_parameters()

    def forward(self, images: Tensor) -> Features:
        """Return Features of normalised images (B, 3, H, W)."""
        features = self.encoder(images)
        top = self.lateral[-1](features.maps[-1])
        for level in reversed(range(len(features.maps) - 1)):
            fine = features.maps[level]
            top = F.interpolate(top, size=fine.shape[-2:], mode="bilinear", align_corners=False)
            top = top + self.lateral[level](fine)
        return features._replace(body=self.out(top))


@register("small_segformer")
def _small_segformer() -> Parts:
    body = SmallSegformerBody()
    return body, SmallHead(body.channels)
