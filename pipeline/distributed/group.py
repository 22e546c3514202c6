"""The processes of one training job: started by torchrun, equal in weights, each with its share of every batch.

Alone (no process group) every function is the identity, so that losses and methods need not ask. Gradients are
averaged by one explicit reduction after the backward pass rather than by DistributedDataParallel: methods see
the model itself, and training in one process stays what it was bit by bit.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

BUCKET = 8 * 2**20
"""Numbers per reduction of gradients (32 MiB in float32)."""


LOST_CODE = 76
"""Exit code of a process that ended because another did."""


class LostProcessError(RuntimeError):
    """Another process of the job ended; its own error says why."""


def is_joined() -> bool:
    """Return whether this process belongs to a group."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Return the number of this process, 0 alone."""
    return dist.get_rank() if is_joined() else 0


def size() -> int:
    """Return the number of processes, 1 alone."""
    return dist.get_world_size() if is_joined() else 1


def is_main() -> bool:
    """Return whether this process is the one that writes."""
    return rank() == 0


def device() -> torch.device:
    """Return this process's GPU, or the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ["LOCAL_RANK"])) if size() > 1 else torch.device("cuda")


@contextmanager
def process_group() -> Iterator[None]:
    """Join the group that torchrun's environment describes; without one, do nothing.

    NCCL carries tensors on GPUs, gloo those on CPUs. Raises ValueError if there are fewer GPUs than processes,
    and LostProcessError in place of the backend's own if another process ended.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    if torch.cuda.is_available():
        _check_gpus(int(os.environ["LOCAL_WORLD_SIZE"]))
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    except RuntimeError as error:
        if _is_lost(error):
            raise LostProcessError("another process of this job ended; its own error says why") from error
        raise
    # Not in a `finally`: leaving a group whose other members are gone may hang.
    dist.destroy_process_group()


def _check_gpus(needed: int) -> None:
    if needed > torch.cuda.device_count():
        raise ValueError(
            f"{needed} processes on this machine need as many GPUs, it shows {torch.cuda.device_count()}; "
            "lower train.world_size or ask for more GPUs"
        )


def _is_lost(error: RuntimeError) -> bool:
    signs = ("Connection closed by peer", "Connection reset by peer", "Connection refused", "Broken pipe")
    return isinstance(error, dist.DistError) or any(sign in str(error) for sign in signs)


def total(x: Tensor) -> Tensor:
    """Return the sum of `x` over all processes, without gradient; alone, `x` itself."""
    if size() == 1:
        return x
    x = x.detach().clone()
    dist.all_reduce(x)
    return x


def any_process(flag: bool) -> bool:
    """Return whether the flag is set in any process; every process waits here for the others."""
    return bool(total(torch.tensor(int(flag)))) if size() > 1 else flag


def gather(value: Any) -> list[Any]:
    """Return the values of all processes in order of rank."""
    if size() == 1:
        return [value]
    values: list[Any] = [None] * size()
    dist.all_gather_object(values, value)
    return values


def average_terms(terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return scalars without gradient, each the mean over processes."""
    if size() == 1:
        return {name: term.detach() for name, term in terms.items()}
    values = total(torch.stack([term.detach().float() for term in terms.values()])) / size()
    return dict(zip(terms, values.unbind(), strict=True))


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace every gradient by its mean over processes.

    A parameter without gradient in some processes counts as zero there, and keeps none if no process has one.
    """
    if size() == 1:
        return
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    if not trained:
        return
    present = total(torch.tensor([p.grad is not None for p in trained], dtype=torch.int32)).tolist()
    moved = [p for p, count in zip(trained, present, strict=True) if count]
    for bucket in _buckets(moved):
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in bucket])
        dist.all_reduce(flat)
        flat /= size()
        for parameter, part in zip(bucket, flat.split([p.numel() for p in bucket]), strict=True):
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            parameter.grad.copy_(part.view(parameter.shape))


def _buckets(parameters: list[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    bucket: list[nn.Parameter] = []
    for parameter in parameters:
        if bucket and sum(p.numel() for p in bucket) + parameter.numel() > BUCKET:
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket


def copy_from_main(module: nn.Module) -> None:
    """Overwrite parameters and buffers by those of process 0."""
    if size() == 1:
        return
    for tensor in module.state_dict().values():
        whole = tensor.contiguous()
        dist.broadcast(whole, src=0)
        tensor.copy_(whole)


def seed_apart(*numbers: int) -> None:
    """Give every process but the first random numbers of its own; process 0 goes on with those it has."""
    if rank() > 0:
        torch.manual_seed(int(np.random.SeedSequence((*numbers, rank())).generate_state(1)[0]))


def joint_cost(record: dict[str, Any]) -> dict[str, Any]:
    """Return the cost of the job: CPU time summed, memory of the largest process, the rest as process 0 saw it."""
    if size() == 1:
        return record
    records = gather(record)
    return {
        **records[0],
        "cpu_seconds": round(sum(one["cpu_seconds"] for one in records), 3),
        "peak_memory_mb": max(one["peak_memory_mb"] for one in records),
        "processes": size(),
    }
