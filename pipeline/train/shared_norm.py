"""Batch norms whose statistics are those of the whole batch, whatever its processes (web_wilss.md 3.2).

PyTorch's SyncBatchNorm does this on GPUs and refuses CPU tensors; SharedBatchNorm does it on CPUs.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline import distributed
from pipeline.models.norm import apply_norm


class _Sum(torch.autograd.Function):
    """Sum over processes of a tensor on which every process's loss depends."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return distributed.total(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return distributed.total(gradient)


class SharedBatchNorm(nn.BatchNorm2d):
    """nn.BatchNorm2d, trained with mean and variance over the images of all processes of a group."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised x (B, C, H, W) in its own type."""
        if not self.training or distributed.size() == 1:
            return super().forward(x)
        # In float64 the mean of squares will do, so that one reduction carries both moments.
        wide = x.double()
        moments = [
            wide.sum(dim=(0, 2, 3)),
            wide.square().sum(dim=(0, 2, 3)),
            wide.new_tensor([x.numel() // x.shape[1]]),
        ]
        sums: Tensor = _Sum.apply(torch.cat(moments))
        n = sums[-1].detach()
        mean, square = (sums[:-1] / n).chunk(2)
        variance = square - mean.square()
        self._remember(mean.detach(), variance.detach() * n / (n - 1))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return ((wide - mean[:, None, None]) * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        assert self.num_batches_tracked is not None
        self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
        self.running_var.lerp_(variance.to(self.running_var), self.momentum)
        self.num_batches_tracked.add_(1)


def share_statistics(module: nn.Module, device: torch.device) -> None:
    """Let every batch norm inside share its statistics; parameters, buffers and their names stay.

    Raises ValueError for a norm of another library on a CPU, which has no shared form there.
    """
    if device.type == "cuda":
        apply_norm(module, "sync")
        return
    for name, child in module.named_children():
        if type(child) in (nn.BatchNorm2d, nn.SyncBatchNorm):
            setattr(module, name, _shared(child))
        elif isinstance(child, _BatchNorm) and not isinstance(child, SharedBatchNorm):
            raise ValueError(
                f"norm `{name}` ({type(child).__name__}) cannot share its statistics between processes on a CPU; "
                "set train.world_size to 1, or use GPUs or a backbone with plain batch norms"
            )
        else:
            share_statistics(child, device)


def _shared(norm: Any) -> SharedBatchNorm:
    shared = SharedBatchNorm(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    shared.train(norm.training)
    shared.weight, shared.bias = norm.weight, norm.bias
    for name, buffer in norm.named_buffers():
        setattr(shared, name, buffer)
    return shared


@torch.no_grad()
def check_shared(module: nn.Module) -> None:
    """Feed every batch norm another input in each process and compare its mean with that of all inputs.

    Raises ValueError for a norm that sees its own process alone.
    """
    for name, norm in module.named_modules():
        if not isinstance(norm, _BatchNorm):
            continue
        probe = copy.deepcopy(norm).train()
        probe.momentum = 1.0
        random = torch.Generator().manual_seed(distributed.rank())
        x = torch.randn(2, norm.num_features, 2, 2, generator=random).to(norm.weight.device)
        probe(x)
        expected = distributed.total(x.mean(dim=(0, 2, 3))) / distributed.size()
        assert probe.running_mean is not None
        if not torch.allclose(probe.running_mean, expected, atol=1e-5):
            raise ValueError(
                f"norm `{name}` ({type(norm).__name__}) does not share its statistics between the "
                f"{dist.get_world_size()} processes; set train.world_size to 1 or use another backbone"
            )
