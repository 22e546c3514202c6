"""Mix Transformer, the hierarchical encoder of SegFormer (NeurIPS 2021; ciss_methods.md 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models import mix_transformer_weights
from pipeline.models.network import Features
from pipeline.runtime.precision import widened

Grid = tuple[int, int]
BLOCK_EPS = 1e-6
EMBEDDING_EPS = 1e-5


@dataclass(frozen=True)
class MixTransformerSize:
    """Four values per field, one for each stage; `mlp_ratio` is the hidden width of a block over its width."""

    dims: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    heads: tuple[int, int, int, int] = (1, 2, 5, 8)
    reductions: tuple[int, int, int, int] = (8, 4, 2, 1)
    mlp_ratio: int = 4


def to_tokens(x: Tensor) -> Tensor:
    """Return a map (B, C, h, w) as tokens (B, h w, C)."""
    return x.flatten(2).transpose(1, 2)


def to_map(tokens: Tensor, grid: Grid) -> Tensor:
    """Return tokens (B, h w, C) as a map (B, C, h, w), channels last in memory."""
    # Not `unflatten`: a trace would keep the grid of the image it was traced with.
    return tokens.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], *grid)


class DropPath(nn.Module):
    """Stochastic depth: in training, drop a residual branch per image with probability `rate`, rescale the rest."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Return x (B, ...) with whole images set to zero, same mean."""
        if self.rate == 0 or not self.training:
            return x
        keep = 1 - self.rate
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        return x * (torch.rand(shape, device=x.device) < keep).to(x.dtype) / keep


class OverlapEmbedding(nn.Module):
    """A strided convolution whose patches overlap, and layer norm."""

    dual_groups = ((("proj",), ""),)

    def __init__(self, channels_in: int, channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels_in, channels, kernel, stride, kernel // 2)
        self.norm = nn.LayerNorm(channels, eps=EMBEDDING_EPS)

    def forward(self, x: Tensor) -> tuple[Tensor, Grid]:
        """Return the tokens (B, L, C) of a map and their grid."""
        x = self.proj(x)
        return self.norm(to_tokens(x)), (x.shape[2], x.shape[3])


class EfficientAttention(nn.Module):
    """Self-attention whose keys and values come from a map reduced by a strided convolution."""

    def __init__(self, channels: int, heads: int, reduction: int) -> None:
        super().__init__()
        assert channels % heads == 0, f"{channels} channels do not divide into {heads} heads"
        self.heads = heads
        self.scale = (channels // heads) ** -0.5
        self.q = nn.Linear(channels, channels)
        self.kv = nn.Linear(channels, 2 * channels)
        self.proj = nn.Linear(channels, channels)
        if reduction > 1:
            self.sr: nn.Module | None = nn.Conv2d(channels, channels, reduction, reduction)
            self.norm: nn.Module | None = nn.LayerNorm(channels, eps=EMBEDDING_EPS)
        else:
            self.sr = self.norm = None

    def forward(self, tokens: Tensor, grid: Grid, need_map: bool = False) -> tuple[Tensor, Tensor | None]:
        """Return new tokens (B, L, C) and, if asked, the post-softmax attention (B, heads, L, K), else None.

        The attention map is at least float32, also under autocast, and carries gradient.
        """
        q = self._by_head(self.q(tokens))
        k, v = (self._by_head(part) for part in self.kv(self._reduced(tokens, grid)).chunk(2, dim=-1))
        if need_map:
            attention = widened((q * self.scale) @ k.transpose(2, 3)).softmax(dim=-1)
            mixed = attention.to(v.dtype) @ v
        else:
            attention = None
            mixed = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        return self.proj(mixed.transpose(1, 2).flatten(2)), attention

    def _reduced(self, tokens: Tensor, grid: Grid) -> Tensor:
        if self.sr is None or self.norm is None:
            return tokens
        reduced: Tensor = self.norm(to_tokens(self.sr(to_map(tokens, grid))))
        return reduced

    def _by_head(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(2, (self.heads, -1)).transpose(1, 2)


class MixFeedForward(nn.Module):
    """Two linear layers with a depth-wise 3x3 convolution and GELU between; it gives the tokens their position."""

    dual_groups = ((("dwconv",), ""),)

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.dwconv = nn.Conv2d(hidden, hidden, 3, 1, 1, groups=hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        """Return new tokens (B, L, C)."""
        mixed = to_tokens(self.dwconv(to_map(self.fc1(tokens), grid)))
        result: Tensor = self.fc2(F.gelu(mixed))
        return result


class Block(nn.Module):
    """Pre-norm attention and feed-forward, each a residual branch under stochastic depth."""

    def __init__(self, channels: int, heads: int, reduction: int, mlp: nn.Module, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=BLOCK_EPS)
        self.attn = EfficientAttention(channels, heads, reduction)
        self.norm2 = nn.LayerNorm(channels, eps=BLOCK_EPS)
        self.mlp = mlp
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor, grid: Grid, need_map: bool = False) -> tuple[Tensor, Tensor | None]:
        """Return new tokens (B, L, C) and the attention map or None, see EfficientAttention."""
        attended, attention = self.attn(self.norm1(tokens), grid, need_map)
        tokens = tokens + self.drop_path(attended)
        return tokens + self.drop_path(self.mlp(self.norm2(tokens), grid)), attention


class Stage(nn.Module):
    """An embedding, blocks and a final norm."""

    def __init__(self, embedding: nn.Module, blocks: Sequence[Block], channels: int) -> None:
        super().__init__()
        self.embedding = embedding
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(channels, eps=BLOCK_EPS)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the normalised map (B, C, h, w) and the last block's attention (B, heads, h w, K)."""
        tokens, grid = self.embedding(x)
        attention = None
        for number, block in enumerate(self.blocks, 1):
            tokens, attention = block(tokens, grid, need_map=number == len(self.blocks))
        assert attention is not None
        return to_map(self.norm(tokens), grid), attention


class MixTransformer(nn.Module):
    """Four stages at strides 4, 8, 16, 32; stochastic depth grows linearly from 0 to `drop_path` over all blocks.

    Features.body is the last stage's map (stride 32), Features.maps the four normalised stage maps,
    Features.attention the last block's attention of every stage. `embedding` replaces the first stage's,
    `feed_forward` makes a block's second half from its width and hidden width.
    Raises ValueError for a `drop_path` outside [0, 1).
    """

    def __init__(
        self,
        size: MixTransformerSize,
        drop_path: float = 0.1,
        embedding: nn.Module | None = None,
        feed_forward: Callable[[int, int], nn.Module] = MixFeedForward,
    ) -> None:
        super().__init__()
        if not 0 <= drop_path < 1:
            raise ValueError(f"drop_path is a probability below 1, got {drop_path}")
        self.size, self.stride, self.channels = size, 32, size.dims[-1]
        last = max(1, sum(size.depths) - 1)
        rates = (drop_path * block / last for block in range(last + 1))
        embeddings = [
            embedding or OverlapEmbedding(3, size.dims[0], 7, 4),
            *(OverlapEmbedding(before, after, 3, 2) for before, after in pairwise(size.dims)),
        ]
        self.stages = nn.ModuleList()
        shapes = zip(embeddings, size.dims, size.depths, size.heads, size.reductions, strict=True)
        for first, dim, depth, heads, reduction in shapes:
            mlps = [feed_forward(dim, size.mlp_ratio * dim) for _ in range(depth)]
            self.stages.append(Stage(first, [Block(dim, heads, reduction, mlp, next(rates)) for mlp in mlps], dim))
        self.apply(initialise)

    def forward(self, images: Tensor) -> Features:
        """Return Features of normalised images (B, 3, H, W)."""
        maps, attention = [], []
        x = images
        for stage in self.stages:
            x, weights = stage(x)
            maps.append(x)
            attention.append(weights)
        return Features(maps[-1], tuple(maps), tuple(attention))

    def convert(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the SegFormer authors' ImageNet weights under our names, for `load_pretrained`."""
        return mix_transformer_weights.convert(weights)


def initialise(module: nn.Module) -> None:
    """Truncated normal 0.02 for linear layers, He normal over the fan-out for convolutions, zero biases."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=(2 / fan_out) ** 0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
