"""A step folder of this pipeline as a model: `model.safetensors`, and `config.yaml` beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError
from torch import Tensor

from pipeline.artifacts import ArtifactError, read_json
from pipeline.datasets.readers import class_names as known_names
from pipeline.methods import Heads, Method, StepInfo, get, settings_of
from pipeline.methods import names as method_names
from pipeline.methods.recipes import get_recipe, recipe_names
from pipeline.models import SegmentationModel, load_model, read_about
from pipeline.models.network import Output
from pipeline.predict.network import Model, Network

WEIGHTS = "model.safetensors"
CONFIG = "config.yaml"
PROTOCOL = ("protocol", "step{}.json")
"""Where the protocol lies in the results folder, three folders above the step's (artifacts/layout.py)."""


def open_step(weights: Path, method: str = "", class_names: Sequence[str] = ()) -> Model:
    """Return the model of a checkpoint of this pipeline.

    The decision and the probabilities are those of the method (or base recipe) that its header names, under the
    settings of config.yaml; `method` names it where the header does not. Raises ValueError if the files contradict
    each other, the method is unknown, or nothing names the classes.
    """
    about = _about(weights)
    config = _config(weights.with_name(CONFIG))
    name = str(about.get("method") or method)
    if method and name != method:
        raise ArtifactError(f"{weights} was trained by {name}, not by {method}; leave the method out")
    order, notes = [int(c) for c in about.get("order", [])], []
    decoder, recipe = _decoder(weights, name, about, config, len(order))
    if not name:
        notes.append("the model names no method: masks are the best channel, probabilities a softmax; see --method")
    ids = order or list(range(decoder.info.n_total))
    names = tuple(class_names) or _names(weights, about, config, ids)
    if len(names) != len(ids):
        raise ValueError(f"{weights} has {len(ids)} classes, {len(names)} names were given")
    body = _body(weights, about)
    network = Network(body, _logits, decide=decoder.decode, probabilities=recipe.probabilities)
    facts = {**about, "config": config}
    return Model(network, names, "step", weights, body.backbone, tuple(ids), facts, tuple(notes))


def _about(weights: Path) -> dict[str, Any]:
    about = read_about(weights)
    if not {"backbone", "classes_per_step"} <= about.keys():
        raise ArtifactError(f"{weights} says neither its backbone nor its classes; was it written by this pipeline?")
    return about


def _body(weights: Path, about: Mapping[str, Any]) -> SegmentationModel:
    try:
        return load_model(weights)
    except (RuntimeError, SafetensorError, OSError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        reason = lines[min(1, len(lines) - 1)][:200]
        raise ArtifactError(f"{weights}: its tensors are not those of {about['backbone']} ({reason})") from None


def _logits(output: Output) -> Tensor:
    return output.logits


def _config(path: Path) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ArtifactError(f"{path} cannot be read ({' '.join(str(error).split())}); restore it") from None
    if not isinstance(loaded, dict):
        raise ArtifactError(f"{path} is not the record of a step; restore it")
    return loaded


def _decoder(
    weights: Path, name: str, about: Mapping[str, Any], config: Mapping[str, Any], n_classes: int
) -> tuple[Method, Method]:
    """Return the method that decides and the base recipe that says what probabilities are."""
    step, heads = int(about.get("step", 0)), [int(n) for n in about["classes_per_step"]]
    sizes = _plain_sizes(heads, step, n_classes or sum(heads))
    info = StepInfo(about.get("dataset", ""), about.get("task", ""), step, sizes, 1, 0, about["backbone"])
    found = Heads(tuple(heads), about.get("classifier", "linear"))
    if not name:
        expected, decoder = Heads(sizes, found.kind), Method(None, info)
        recipe = decoder
    elif step == 0 and name in recipe_names():
        decoder = recipe = get_recipe(name)(None, info)
        expected = decoder.heads(None, sizes)
    else:
        settings = settings_of(name, config.get("settings") or {}, info.dataset, info.task, info.backbone)
        decoder = get(name)(settings, info)
        recipe = get_recipe(decoder.recipe_for(settings))(None, info)
        expected = decoder.heads(settings, sizes)
    if found != expected:
        raise ArtifactError(
            f"{weights} has {found.kind} classifiers {list(found.sizes)} for {sum(sizes)} classes, which "
            f"{name or 'a method that adds no channels'} does not make; put its step's {CONFIG} beside it, "
            f"or name its method: {', '.join(method_names())}"
        )
    return decoder, recipe


def _plain_sizes(heads: Sequence[int], step: int, n_classes: int) -> tuple[int, ...]:
    """Return the classes of each step; a method may have cut step 0 into more heads and added channels to it."""
    first = heads[: len(heads) - step]
    return (sum(first) - (sum(heads) - n_classes), *heads[len(heads) - step :])


def _names(weights: Path, about: Mapping[str, Any], config: Mapping[str, Any], ids: Sequence[int]) -> tuple[str, ...]:
    table = about.get("class_names") or recorded_names(weights, about) or _public_names(str(about.get("dataset")))
    if not table:
        root = (config.get("datasets") or {}).get("root")
        path = Path(root, "classes.txt") if root else None
        if path and path.is_file():
            table = {str(number): name.strip() for number, name in enumerate(path.read_text().splitlines())}
    missing = [i for i in ids if i and str(i) not in table]
    if missing:
        raise ValueError(
            f"{weights} does not say how its {len(ids)} classes are called; give them with --classes FILE, one name "
            "per line, line 1 `background`"
        )
    return tuple(str(table[str(i)]) if i else "background" for i in ids)


def recorded_names(weights: Path, about: Mapping[str, Any]) -> dict[str, str]:
    """Return {class id: name} of the protocol in the results folder of a checkpoint, {} if it is not its own."""
    parents = weights.resolve().parents
    if len(parents) < 4:
        return {}
    folder, name = PROTOCOL
    path = parents[3] / folder / name.format(about.get("step"))
    if not path.is_file():
        return {}
    protocol = read_json(path)
    same = all(protocol.get(key) == about.get(key) for key in ("dataset", "task", "step", "order"))
    return dict(protocol["class_names"]) if same else {}


def _public_names(dataset: str) -> dict[str, str]:
    if dataset.startswith("coco"):
        return {str(number): name for number, name in known_names.COCO.items()}
    listed = {"voc": known_names.VOC, "minivoc": known_names.VOC, "ade": known_names.ADE}.get(dataset, ())
    return {str(number): name for number, name in enumerate(listed)}
