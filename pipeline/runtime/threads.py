"""How many threads PyTorch computes with. Rounding depends on it, so that no stage takes what the machine offers."""

from __future__ import annotations

STAGE_THREADS = 2
"""Of stages that have no setting for it; `train.threads` is that of training and evaluation."""


def use_threads(count: int = STAGE_THREADS) -> None:
    """Let PyTorch compute with that many threads from now on, in this process."""
    import torch

    torch.set_num_threads(count)
