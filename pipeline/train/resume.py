"""State of an interrupted step: weights, optimiser, random generators, sampler position, method state.

The files live beside the declared outputs in `.resume/<iteration>/`, so that a workflow engine that deletes outputs
before a rerun leaves them alone. An older state goes only once the newer one is whole: killed at any moment, a step
has one of them. In a job of several processes all save and load together, and process 0 alone writes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline import distributed
from pipeline.artifacts import atomic_dir, read_json
from pipeline.methods import Method
from pipeline.runtime.tensors import ready_to_save


def fingerprint(facts: Mapping[str, Any]) -> str:
    """Return a hash of everything that must be equal for a state to be continued."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True)
class Parts:
    """What a state is made of: the modules by name, the optimiser and the method."""

    modules: Mapping[str, nn.Module | None]
    optimizer: torch.optim.Optimizer
    method: Method


def save_state(folder: Path, parts: Parts, facts: Mapping[str, Any]) -> None:
    """Write the state; `facts` holds the fingerprint, the iteration and the cost so far."""
    random = distributed.gather(random_state())
    own = distributed.gather(ready_to_save(parts.method.state())) if parts.method.differs_by_process else []
    if not distributed.is_main():
        return
    target = folder / str(facts["iteration"])
    with atomic_dir(target) as temporary:
        for name, module in parts.modules.items():
            if module is not None:
                save_file(ready_to_save(module.state_dict()), temporary / f"{name}.safetensors")
        save_file(_momentum(parts.optimizer), temporary / "optimizer.safetensors")
        for rank, state in enumerate(own or [ready_to_save(parts.method.state())]):
            save_file(state, temporary / _of("method", rank))
        for rank, state in enumerate(random):
            save_file(state, temporary / _of("random", rank))
        (temporary / "facts.json").write_text(json.dumps({**facts, "processes": distributed.size()}))
    for other in folder.iterdir():
        if other.is_file():
            other.unlink()
        elif other != target:
            shutil.rmtree(other)


def load_state(folder: Path, parts: Parts, expected: str) -> dict[str, Any] | None:
    """Restore everything in place and return the facts; None if there is no usable state.

    A state with another fingerprint (other settings or inputs) is not usable and is left to be replaced. One of
    another number of processes is: weights go on as they were, random numbers of added processes are new.
    """
    source = _newest(folder)
    if source is None:
        return None
    facts: dict[str, Any] = read_json(source / "facts.json")
    if facts["fingerprint"] != expected:
        return None
    for name, module in parts.modules.items():
        if module is not None:
            module.load_state_dict(load_file(source / f"{name}.safetensors"))
    _restore_momentum(parts.optimizer, load_file(source / "optimizer.safetensors"))
    own = source / _of("method", distributed.rank())
    parts.method.load_state(load_file(own if own.exists() else source / _of("method", 0)), resumed=True)
    random = source / _of("random", distributed.rank())
    if random.exists():
        restore_random(load_file(random))
    return facts


def _newest(folder: Path) -> Path | None:
    found = [path for path in folder.glob("*") if path.name.isdecimal() and (path / "facts.json").exists()]
    return max(found, key=lambda path: int(path.name), default=None)


def _of(name: str, rank: int) -> str:
    return f"{name}.safetensors" if rank == 0 else f"{name}.{rank}.safetensors"


def random_state() -> dict[str, Tensor]:
    """Return the state of this process's random generators."""
    found = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        found["cuda"] = torch.cuda.get_rng_state()
    return found


def restore_random(state: Mapping[str, Tensor]) -> None:
    """Set the generators to a state of `random_state`."""
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])


def drop_state(folder: Path) -> None:
    """Remove the state of a finished step."""
    shutil.rmtree(folder, ignore_errors=True)


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _momentum(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    found = {}
    for index, parameter in enumerate(_parameters(optimizer)):
        buffer = optimizer.state.get(parameter, {}).get("momentum_buffer")
        if buffer is not None:
            found[str(index)] = buffer
    return ready_to_save(found)


def _restore_momentum(optimizer: torch.optim.Optimizer, saved: Mapping[str, Tensor]) -> None:
    for index, parameter in enumerate(_parameters(optimizer)):
        if str(index) in saved:
            buffer = torch.empty_like(parameter).copy_(saved[str(index)])
            optimizer.state[parameter]["momentum_buffer"] = buffer
