"""Puts a step together from files: protocol, training list, previous model, settings and seed."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file

from pipeline import __version__, distributed
from pipeline.artifacts import TRAIN_LIST, ArtifactError, Layout, file_sha256, read_table, write_text
from pipeline.config import Config, Phase, Train
from pipeline.datasets.protocol_file import Protocol, read_protocol
from pipeline.methods import Heads, Method, StepInfo, get, overridden, settings_of
from pipeline.methods.recipes import get_recipe, recipe_departures, recipe_settings
from pipeline.models import SegmentationModel, build_model, load_model, load_pretrained
from pipeline.runtime.weights import recognise_weights
from pipeline.train import STAGE_VERSION, resume
from pipeline.train.best import StepScore
from pipeline.train.data import BatchSource, Loading
from pipeline.train.engine import Step

_NO_RESULT = {"tensorboard", "checkpoint_every", "world_size"}
"""Keys of `train` that change no weight, or only by rounding."""


@dataclass(frozen=True)
class Previous:
    """Files of the step before."""

    model: Path
    state: Path | None = None


@dataclass(frozen=True)
class _Parts:
    """What a step is put together from: the method with its networks, and the step's protocol, list and folder."""

    method: Method
    model: SegmentationModel
    teacher: SegmentationModel | None
    protocol: Protocol
    list_path: Path
    folder: Path


def assemble_base(config: Config, recipe: str, seed: int, protocol_path: Path, list_path: Path, folder: Path) -> Step:
    """Return step 0 of a recipe. Raises ValueError for anything that does not fit."""
    protocol = _protocol(protocol_path, base=True)
    cls = get_recipe(recipe)
    if config.train.freeze_bn and not config.train.pretrained:
        raise ValueError(
            "train.freeze_bn is true, but step 0 begins from random weights, whose norms have no statistics to keep; "
            "set train.pretrained, or train.freeze_bn: false"
        )
    info = _info(protocol, config.train.base, seed, config.train.backbone)
    torch.manual_seed(seed)
    options = {**config.train.backbone_options, **cls.network_options(None)}
    model = _build(config.train.backbone, cls.heads(None, info.classes_per_step), options)
    inputs = _pretrained(model, config.train) if config.train.pretrained else {}
    context = (protocol.dataset, protocol.task, config.train.backbone)
    settings = recipe_settings(recipe, config.train.recipes.get(recipe, {}), *context)
    for line in recipe_departures(recipe, settings, *context) if distributed.is_main() else ():
        print(line, file=sys.stderr, flush=True)
    inputs["settings"] = settings.model_dump()
    method = cls(settings, info)
    method.init_classifier(model)
    parts = _Parts(method, model, None, protocol, list_path, folder)
    return _step(config, config.train.base, parts, inputs)


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
    context = (protocol.dataset, protocol.task, config.train.backbone)
    settings = settings_of(method_name, config.methods.get(method_name, {}), *context)
    for line in overridden(method_name, settings, *context) if distributed.is_main() else ():
        print(line, file=sys.stderr, flush=True)
    info = _info(protocol, config.train.step, seed, config.train.backbone)
    expected = protocol.identity() | {"step": protocol.step - 1}
    teacher = load_model(previous.model, expect=expected)
    _check_previous(previous.model, teacher, cls.heads(settings, info.classes_per_step[:-1]), info, config)
    _check_options(previous.model, teacher, cls.network_options(settings), cls.recipe_for(settings))
    torch.manual_seed(seed)
    heads = cls.heads(settings, info.classes_per_step)
    model = _build(teacher.backbone, heads, teacher.options)
    found = model.load_state_dict(teacher.state_dict(), strict=False)
    newest = f"classifiers.{len(heads.sizes) - 1}."
    assert all(key.startswith(newest) for key in found.missing_keys) and not found.unexpected_keys
    method = cls(settings, info)
    method.init_classifier(model)
    if previous.state is not None:
        method.load_state(load_file(previous.state), resumed=False)
    inputs = {
        "previous": file_sha256(previous.model),
        "method": method_name,
        "settings": settings.model_dump(),
    }
    kept = teacher if cls.needs_teacher else None
    parts = _Parts(method, model, kept, protocol, list_path, folder)
    return _step(config, config.train.step, parts, inputs)


def _pretrained(model: SegmentationModel, train: Train) -> dict[str, Any]:
    """Load the body's weights; return the file's SHA-256, which is recorded whether weights.lock lists it or not."""
    path = Path(train.pretrained)
    digest, verdict = recognise_weights(path)
    if distributed.is_main():
        print(f"weights {path}: {verdict}; SHA-256 {digest}", file=sys.stderr, flush=True)
    load_pretrained(model.body, path, train.pretrained_sha256 or None)
    return {"pretrained": digest}


def _build(backbone: str, heads: Heads, options: Mapping[str, Any]) -> SegmentationModel:
    return build_model(backbone, heads.sizes, classifier=heads.kind, options=dict(options))


def _check_previous(path: Path, teacher: SegmentationModel, heads: Heads, info: StepInfo, config: Config) -> None:
    found = Heads(tuple(teacher.classes_per_step), teacher.classifier)
    if found != heads:
        raise ArtifactError(
            f"checkpoint {path} has {found.kind} classifiers {list(found.sizes)}, "
            f"step {info.step} of {info.task} follows {heads.kind} classifiers {list(heads.sizes)}"
        )
    if teacher.backbone != config.train.backbone:
        raise ArtifactError(
            f"checkpoint {path} has backbone {teacher.backbone}, train.backbone is {config.train.backbone}"
        )


def _check_options(path: Path, teacher: SegmentationModel, needed: Mapping[str, Any], recipe: str) -> None:
    for name, value in needed.items():
        if teacher.options.get(name) != value:
            raise ArtifactError(
                f"checkpoint {path} was built with {name} {teacher.options.get(name)!r}, the method needs {value!r}; "
                f"train the base step with recipe `{recipe}`"
            )


def _step(config: Config, phase: Phase, parts: _Parts, inputs: dict[str, Any]) -> Step:
    method, protocol, folder = parts.method, parts.protocol, parts.folder
    rows = read_table(parts.list_path, TRAIN_LIST)
    salient = method.wants_saliency(method.settings, protocol.dataset)
    saliency = Path(Layout.of(config).saliency("")) if salient else None
    train = config.train
    loading = Loading(phase.batch_size, train.gradient_accumulation, train.workers, saliency, train.replay_epoch)
    source = BatchSource(rows, protocol, config.datasets, method, loading)
    about = {**protocol.identity(), "order": list(protocol.order)}
    facts = {
        **inputs,
        **about,
        "recipe_or_method": method.name,
        "seed": method.info.seed,
        "phase": phase.model_dump(),
        "train": config.train.model_dump(exclude={"base", "step", "recipes", *_NO_RESULT}),
        "datasets": config.datasets.model_dump(),
        "list": file_sha256(parts.list_path),
        "version": STAGE_VERSION,
    }
    if distributed.is_main():
        _write_resolved(folder, facts)
    # Names travel with the model: it is used where its data set is not.
    named = {"class_names": {str(c): protocol.class_names[c] for c in protocol.order if c}}
    header = {**about, **named, "seed": method.info.seed, "method": method.name, "pipeline": __version__}
    score = StepScore(protocol, config.datasets, method) if config.train.keep == "best" else None
    return Step(
        method=method,
        model=parts.model,
        teacher=parts.teacher,
        source=source,
        train=config.train,
        phase=phase,
        folder=folder,
        about=header,
        fingerprint=resume.fingerprint(facts),
        score=score,
    )


def _write_resolved(folder: Path, facts: dict[str, Any]) -> None:
    versions = {"pipeline": __version__, "torch": str(torch.__version__)}
    shown = {**facts, "processes": distributed.size(), "versions": versions}
    text = yaml.safe_dump(json.loads(json.dumps(shown)), sort_keys=True)
    write_text(folder / "config.yaml", text)


def _protocol(path: Path, base: bool) -> Protocol:
    protocol = read_protocol(path)
    if (protocol.step == 0) != base:
        kind = "step 0" if base else "a step after 0"
        raise ValueError(f"{path} describes step {protocol.step}, this command trains {kind}")
    return protocol


def _info(protocol: Protocol, phase: Phase, seed: int, backbone: str) -> StepInfo:
    sizes = protocol.step_sizes
    names = tuple(protocol.channel_names)
    return StepInfo(
        protocol.dataset, protocol.task, protocol.step, sizes, phase.epochs, seed, backbone, protocol.setting, names
    )
