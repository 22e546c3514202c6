"""Batch norm with leaky ReLU in place of the compiled in-place norm (web_wilss.md 3.2), plain or synchronised."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

SLOPE = 0.01


def norm_act(channels: int, slope: float = SLOPE) -> nn.Sequential:
    """Batch norm (eps 1e-5, momentum 0.1) followed by leaky ReLU 0.01, or by ReLU for slope 0."""
    return nn.Sequential(nn.BatchNorm2d(channels), nn.LeakyReLU(slope, inplace=True))


def apply_norm(model: nn.Module, kind: str) -> nn.Module:
    """Return the model with `plain` batch norms, or with `sync` ones that share statistics across processes.

    Both have the same parameter names; outside a process group `sync` computes what `plain` does.
    Raises ValueError for another kind.
    """
    if kind not in ("plain", "sync"):
        raise ValueError(f"unknown norm `{kind}`, expected plain or sync")
    if kind == "plain":
        return model
    for name, child in model.named_children():
        # A body of another library may hold norms of its own kind, which only that library converts rightly.
        convert = getattr(child, "convert_sync_batchnorm", nn.SyncBatchNorm.convert_sync_batchnorm)
        setattr(model, name, convert(child))
    return model


def keep_statistics(module: nn.Module) -> None:
    """Let every batch norm inside normalise by its running statistics and leave them, in training mode too.

    Weight and bias still learn. A fresh norm has mean 0 and variance 1, so that it only scales and shifts.
    """
    for norm in module.modules():
        if isinstance(norm, _BatchNorm):
            norm.register_forward_pre_hook(_as_in_evaluation)


def _as_in_evaluation(norm: nn.Module, inputs: object) -> None:
    norm.eval()  # each time anew: methods put the modules that they own into training mode
