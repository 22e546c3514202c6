"""Two parallel branches for a convolution and its norm, mixed and merged (RCIL, CVPR 2022; recent_methods.md 5.2, 5.3).

A module says in `dual_groups` which of its convolutions may have two: ((names of convolutions), name of the norm that
follows them or ""). A norm over several convolutions' channels is dealt out to them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.models.norm import SLOPE

CUTS = (0.33, 0.66)


class DualConv(nn.Module):
    """conv + norm beside conv_new + norm_new: per channel one of them or their mean in training, the mean else.

    With r uniform in [0, 1), drawn per channel and call: the first branch for r < cuts[0], the second below cuts[1],
    else the mean of both.
    """

    def __init__(self, conv: nn.Conv2d, norm: nn.Module) -> None:
        super().__init__()
        self.conv, self.norm = conv, norm
        if conv.bias is None and not self.normed:
            conv.bias = _zero_bias(conv)
        self.conv_new, self.norm_new = copy.deepcopy(conv), copy.deepcopy(norm)
        self.cuts: tuple[float, float] = CUTS
        if conv.bias is None:
            # Merging gives the first branch a bias; it has one from the start, so that no shape ever changes.
            conv.bias = _zero_bias(conv).requires_grad_(False)

    @property
    def normed(self) -> bool:
        """Return whether norms follow the convolutions."""
        return isinstance(self.norm, _BatchNorm)

    def share(self, r: Tensor) -> Tensor:
        """Return the first branch's share (C,) for random numbers r (C,)."""
        return torch.where(r < self.cuts[0], 1.0, torch.where(r < self.cuts[1], 0.0, 0.5))

    def forward(self, x: Tensor) -> Tensor:
        """Return the mixed branches (B, C, h, w)."""
        first, second = self.norm(self.conv(x)), self.norm_new(self.conv_new(x))
        if not self.training:
            mean: Tensor = 0.5 * first + 0.5 * second
            return mean
        share = self.share(torch.rand(first.shape[1], device=x.device)).to(first.dtype)[None, :, None, None]
        mixed: Tensor = share * first + (1 - share) * second
        return mixed

    @torch.no_grad()
    def merge(self, renew: bool = False) -> None:
        """Make the first branch the mean of both as they are in evaluation, and freeze it; `renew` the second too."""
        parts = [_folded(self.conv, self.norm), _folded(self.conv_new, self.norm_new)]
        weight, bias = (0.5 * (a + b) for a, b in zip(*parts, strict=True))
        self._set(self.conv, self.norm, weight, bias)
        for module in (self.conv, self.norm):
            module.requires_grad_(False)
        if renew:
            self._set(self.conv_new, self.norm_new, weight, bias)

    def keep_first(self) -> None:
        """Let the first branch's norm leave its statistics alone."""
        self.norm.eval()

    def _set(self, conv: nn.Conv2d, norm: nn.Module, weight: Tensor, bias: Tensor) -> None:
        conv.weight.copy_(weight)
        if isinstance(norm, _BatchNorm):
            assert norm.running_mean is not None and norm.running_var is not None
            norm.running_mean.zero_()
            norm.running_var.fill_(1 - norm.eps)  # so that the norm divides by 1
            norm.weight.fill_(1.0)
            norm.bias.zero_()
        if conv.bias is not None:
            conv.bias.copy_(bias)
        else:
            norm.bias.copy_(bias)  # type: ignore[operator]


def _zero_bias(conv: nn.Conv2d) -> nn.Parameter:
    return nn.Parameter(torch.zeros_like(conv.weight[:, 0, 0, 0]))


def _folded(conv: nn.Conv2d, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Return weight and bias of the one convolution that does what conv and norm do in evaluation."""
    bias = torch.zeros_like(conv.weight[:, 0, 0, 0]) if conv.bias is None else conv.bias
    if not isinstance(norm, _BatchNorm):
        return conv.weight, bias
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return conv.weight * scale[:, None, None, None], norm.bias + (bias - norm.running_mean) * scale


def dual_convolutions(module: nn.Module) -> Iterator[DualConv]:
    """Yield every convolution of two branches."""
    return (child for child in module.modules() if isinstance(child, DualConv))


def split_branches(body: nn.Module, head: nn.Module, backbone: str) -> None:
    """Give every convolution that body and head declare two branches, in place.

    The second branch begins as a copy in the body and anew in the head. Raises ValueError for a body without any.
    """
    if not _split(body):
        raise ValueError(
            f"backbone {backbone} has no convolution that two branches can be merged into "
            "(its norms stand before the convolutions); use small_cnn, small_segformer, segformer_* or a ResNet"
        )
    _split(head)
    for dual in dual_convolutions(head):
        nn.init.xavier_normal_(dual.conv_new.weight, nn.init.calculate_gain("leaky_relu", SLOPE))


def _split(root: nn.Module) -> int:
    found = 0
    for path, module in list(root.named_modules()):
        for names, norm_name in getattr(module, "dual_groups", ()):
            convolutions = [module.get_submodule(name) for name in names]
            norms = _dealt(module.get_submodule(norm_name), len(names)) if norm_name else [nn.Identity() for _ in names]
            for name, conv, norm in zip(names, convolutions, norms, strict=True):
                assert isinstance(conv, nn.Conv2d)
                module.set_submodule(name, DualConv(conv, norm))
            if norm_name:
                module.set_submodule(norm_name, nn.Identity())
            _read_single(root, path, names, norm_name)
            found += len(names)
    return found


def _dealt(norm: nn.Module, parts: int) -> list[nn.Module]:
    assert isinstance(norm, nn.BatchNorm2d)
    if parts == 1:
        return [norm]
    return [nn.BatchNorm2d(norm.num_features // parts, norm.eps, norm.momentum) for _ in range(parts)]


def _read_single(root: nn.Module, path: str, names: tuple[str, ...], norm_name: str) -> None:
    """Let `root` load weights of the network with one branch: both branches take them (a norm of one conv alone)."""
    if len(names) > 1:
        return
    base = f"{path}." if path else ""
    moves = {f"{base}{names[0]}.weight": ("conv.weight", "conv_new.weight")}
    moves[f"{base}{names[0]}.bias"] = ("conv.bias", "conv_new.bias")
    for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked") if norm_name else ():
        moves[f"{base}{norm_name}.{part}"] = (f"norm.{part}", f"norm_new.{part}")
    earlier = getattr(root, "single_names", {})
    root.single_names = {**earlier, **{key: (f"{base}{names[0]}", new) for key, new in moves.items()}}  # type: ignore[assignment]


def doubled(body: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights of a body with one branch under the names of one with two; others as they are."""
    names = getattr(body, "single_names", {})
    if not isinstance(names, dict):
        return weights
    found: dict[str, Tensor] = {}
    for key, value in weights.items():
        dual, news = names.get(key, ("", (key,)))
        found |= {f"{dual}.{new}" if dual else new: value for new in news}
    own = body.state_dict()
    for dual in {dual for dual, _ in names.values()}:
        for bias in (f"{dual}.conv.bias", f"{dual}.conv_new.bias"):
            if bias in own and bias not in found:
                found[bias] = torch.zeros_like(own[bias])
    return found
