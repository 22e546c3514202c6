"""State of an interrupted step: weights, optimiser, random generators, sampler position, method state.

The files live beside the declared outputs in `.resume/`, so that a workflow engine that deletes outputs
before a rerun leaves them alone. The folder is replaced as a whole: it is either the old state or the new.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline.artifacts import atomic_dir, read_json


def fingerprint(facts: Mapping[str, Any]) -> str:
    """Return a hash of everything that must be equal for a state to be continued."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def save_state(
    folder: Path,
    modules: Mapping[str, nn.Module | None],
    optimizer: torch.optim.Optimizer,
    method_state: Mapping[str, Tensor],
    facts: Mapping[str, Any],
) -> None:
    """Write the state; `facts` holds the fingerprint, the iteration and the length of the log."""
    with atomic_dir(folder) as temporary:
        for name, module in modules.items():
            if module is not None:
                save_file(_plain(module.state_dict()), temporary / f"{name}.safetensors")
        save_file(_momentum(optimizer), temporary / "optimizer.safetensors")
        save_file(_plain(method_state), temporary / "method.safetensors")
        save_file({"torch": torch.get_rng_state()}, temporary / "random.safetensors")
        (temporary / "facts.json").write_text(json.dumps(dict(facts)))


def load_state(
    folder: Path,
    modules: Mapping[str, nn.Module | None],
    optimizer: torch.optim.Optimizer,
    expected: str,
) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """Restore everything in place and return (facts, method state); None if there is no usable state.

    A state with another fingerprint (other settings or inputs) is not usable and is left to be replaced.
    """
    if not (folder / "facts.json").exists():
        return None
    facts = read_json(folder / "facts.json")
    if facts["fingerprint"] != expected:
        return None
    for name, module in modules.items():
        if module is not None:
            module.load_state_dict(load_file(folder / f"{name}.safetensors"))
    _restore_momentum(optimizer, load_file(folder / "optimizer.safetensors"))
    torch.set_rng_state(load_file(folder / "random.safetensors")["torch"])
    return facts, load_file(folder / "method.safetensors")


def drop_state(folder: Path) -> None:
    """Remove the state of a finished step."""
    shutil.rmtree(folder, ignore_errors=True)


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _momentum(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    found = {}
    for index, parameter in enumerate(_parameters(optimizer)):
        buffer = optimizer.state.get(parameter, {}).get("momentum_buffer")
        if buffer is not None:
            found[str(index)] = buffer.detach().cpu().contiguous()
    return found


def _restore_momentum(optimizer: torch.optim.Optimizer, saved: Mapping[str, Tensor]) -> None:
    for index, parameter in enumerate(_parameters(optimizer)):
        if str(index) in saved:
            buffer = torch.empty_like(parameter).copy_(saved[str(index)])
            optimizer.state[parameter]["momentum_buffer"] = buffer
