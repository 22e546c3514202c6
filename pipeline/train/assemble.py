"""Puts a step together from files: protocol, training list, previous model, settings and seed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file

from pipeline import __version__
from pipeline.artifacts import TRAIN_LIST, ArtifactError, read_json, read_table, write_text
from pipeline.config import Config, Phase
from pipeline.train import STAGE_VERSION, resume
from pipeline.train.data import BatchSource
from pipeline.train.engine import Step
from pipeline.train.methods import Method, StepInfo, get, settings_of
from pipeline.train.models import SegmentationModel, build_model, load_model
from pipeline.train.recipes import get_recipe


@dataclass(frozen=True)
class Previous:
    """Files of the step before."""

    model: Path
    state: Path | None = None


def assemble_base(config: Config, recipe: str, seed: int, protocol_path: Path, list_path: Path, folder: Path) -> Step:
    """Return step 0 of a recipe. Raises ValueError for anything that does not fit."""
    protocol = _protocol(protocol_path, base=True)
    cls = get_recipe(recipe)
    info = _info(protocol, config.train.base, seed)
    torch.manual_seed(seed)
    model = build_model(config.train.backbone, info.classes_per_step)
    method = cls(None, info)
    return _step(config, config.train.base, method, model, None, protocol, list_path, folder, {})


def assemble_step(
    config: Config,
    method_name: str,
    seed: int,
    protocol_path: Path,
    list_path: Path,
    previous: Previous,
    folder: Path,
) -> Step:
    """Return an incremental step of a method. Raises ValueError for anything that does not fit."""
    protocol = _protocol(protocol_path, base=False)
    cls = get(method_name)
    settings = settings_of(method_name, config.methods.get(method_name, {}))
    info = _info(protocol, config.train.step, seed)
    expected = {key: protocol[key] for key in ("dataset", "task", "setting")} | {"step": protocol["step"] - 1}
    teacher = load_model(previous.model, expect=expected)
    if list(teacher.classes_per_step) != list(info.classes_per_step[:-1]):
        raise ArtifactError(
            f"checkpoint {previous.model} has classes per step {teacher.classes_per_step}, "
            f"step {info.step} of {info.task} follows {list(info.classes_per_step[:-1])}"
        )
    torch.manual_seed(seed)
    model = build_model(teacher.backbone, info.classes_per_step)
    missing = model.load_state_dict(teacher.state_dict(), strict=False)
    new_head = {f"classifiers.{info.step}.weight", f"classifiers.{info.step}.bias"}
    assert set(missing.missing_keys) == new_head and not missing.unexpected_keys
    method = cls(settings, info)
    method.init_classifier(model)
    if previous.state is not None:
        method.load_state(load_file(previous.state), resumed=False)
    inputs = {
        "previous": _sha256(previous.model),
        "method": method_name,
        "settings": dataclasses.asdict(settings),
    }
    kept = teacher if cls.needs_teacher else None
    return _step(config, config.train.step, method, model, kept, protocol, list_path, folder, inputs)


def _step(
    config: Config,
    phase: Phase,
    method: Method,
    model: SegmentationModel,
    teacher: SegmentationModel | None,
    protocol: dict[str, Any],
    list_path: Path,
    folder: Path,
    inputs: dict[str, Any],
) -> Step:
    rows = read_table(list_path, TRAIN_LIST)
    source = BatchSource(rows, protocol, config.datasets, phase, method, config.train.workers)
    about = {key: protocol[key] for key in ("dataset", "task", "setting", "step", "order")}
    facts = {
        **inputs,
        **about,
        "recipe_or_method": method.name,
        "seed": method.info.seed,
        "phase": phase.model_dump(),
        "train": config.train.model_dump(exclude={"base", "step", "tensorboard", "checkpoint_every"}),
        "datasets": config.datasets.model_dump(),
        "list": _sha256(list_path),
        "version": STAGE_VERSION,
    }
    _write_resolved(folder, facts)
    header = {**about, "seed": method.info.seed, "method": method.name, "pipeline": __version__}
    return Step(method, model, teacher, source, config.train, phase, folder, header, resume.fingerprint(facts))


def _write_resolved(folder: Path, facts: dict[str, Any]) -> None:
    versions = {"pipeline": __version__, "torch": str(torch.__version__)}
    text = yaml.safe_dump(json.loads(json.dumps({**facts, "versions": versions})), sort_keys=True)
    write_text(folder / "config.yaml", text)


def _protocol(path: Path, base: bool) -> dict[str, Any]:
    protocol: dict[str, Any] = read_json(path)
    if (protocol["step"] == 0) != base:
        kind = "step 0" if base else "a step after 0"
        raise ValueError(f"{path} describes step {protocol['step']}, this command trains {kind}")
    return protocol


def _info(protocol: dict[str, Any], phase: Phase, seed: int) -> StepInfo:
    step = protocol["step"]
    sizes = tuple(len(classes) for classes in protocol["classes_per_step"][: step + 1])
    return StepInfo(protocol["dataset"], protocol["task"], step, sizes, phase.epochs, seed)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
