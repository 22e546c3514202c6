"""A given model as step 0 of an experiment: a copy with one classifier and a header of its own, nothing trained."""

from __future__ import annotations

from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file

from pipeline import __version__
from pipeline.artifacts import atomic_path, file_sha256, write_text
from pipeline.config import ConfigError
from pipeline.datasets.protocol_file import Protocol, read_protocol
from pipeline.models import SegmentationModel, build_model, load_model, save_model
from pipeline.runtime.cost import Cost, write_cost
from pipeline.teach.given import Given, read_given

RECIPE = "bce"
LOG_COLUMNS = "iteration,epoch,lr,term,value\n"


def import_base(model: Path, protocol_path: Path, recipe: str, seed: int, folder: Path) -> None:
    """Write model.safetensors, method_state.safetensors, config.yaml, log.csv (no row) and cost.json into `folder`.

    The classifiers of a model that was learnt in steps become one, and a softmax model gets the option `log_odds`;
    its decisions stay. Raises ValueError if a run needs another kind of base, or the protocol has other classes.
    """
    cost = Cost()
    if recipe != RECIPE:
        raise ConfigError(f"a taught experiment needs runs of base recipe {RECIPE} (web_wilss, wilson), got {recipe}")
    given, protocol = read_given(model), read_protocol(protocol_path)
    if list(given.names) != protocol.channel_names:
        raise ConfigError(
            f"model {model} knows {len(given.names)} classes, step 0 of {protocol_path} names others; "
            "run `webseg teach` anew for this model"
        )
    taught = as_one_step(given)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "config.yaml", yaml.safe_dump(_record(given, protocol, recipe, seed), sort_keys=True))
    write_text(folder / "log.csv", LOG_COLUMNS)
    with atomic_path(folder / "method_state.safetensors") as temporary:
        save_file({}, temporary)
    write_cost(folder / "cost.json", cost.record(0, "images"))
    about = {
        **protocol.identity(),
        "order": list(protocol.order),
        "class_names": {str(c): protocol.class_names[c] for c in protocol.order if c},
        "seed": seed,
        "method": recipe,
        "pipeline": __version__,
    }
    save_model(folder / "model.safetensors", taught, about)


def as_one_step(given: Given) -> SegmentationModel:
    """Return the model with a single classifier of all its classes, whose logits can be read under a sigmoid."""
    model = load_model(given.weights)
    total = sum(model.classes_per_step)
    log_odds = {"log_odds": total} if given.softmax else {}
    whole = build_model(model.backbone, [total], "linear", {**model.options, **log_odds})
    state = {name: value for name, value in model.state_dict().items() if not name.startswith("classifiers.")}
    for part in ("weight", "bias"):
        rows = [getattr(classifier, part) for classifier in model.classifiers]
        state[f"classifiers.0.{part}"] = torch.cat([row.detach() for row in rows])
    whole.load_state_dict(state)
    return whole.eval()


def _record(given: Given, protocol: Protocol, recipe: str, seed: int) -> dict[str, object]:
    return {
        **protocol.identity(),
        "order": list(protocol.order),
        "recipe_or_method": recipe,
        "seed": seed,
        "given": {
            "model": str(given.weights),
            "sha256": file_sha256(given.weights),
            "method": given.about.get("method", ""),
            "softmax": given.softmax,
        },
        "datasets": dict(given.config.get("datasets") or {}),
        "train": {"backbone": given.about["backbone"], "backbone_options": given.options},
    }
