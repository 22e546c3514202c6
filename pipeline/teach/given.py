"""The model that is taught: where its file is, its classes by name, and how its logits were trained."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.artifacts import ArtifactError, read_json
from pipeline.datasets.readers import class_names as known_names
from pipeline.methods import get, settings_of
from pipeline.methods.recipes import get_recipe, recipe_names
from pipeline.models import read_about
from pipeline.predict.step_folder import recorded_names

WEIGHTS = "model.safetensors"
REQUEST = "teach.json"
"""In a folder that `webseg teach` made: what was asked for, and where the taught model lies."""
_EXPECTED = f"expected a step folder of this pipeline ({WEIGHTS}) or a folder that `webseg teach` made"
_SOFTMAX = ("ce", "ce_importance")


@dataclass(frozen=True)
class Given:
    """A model of this pipeline with linear classifiers, one channel per class, background first."""

    weights: Path
    about: Mapping[str, Any]
    config: Mapping[str, Any]
    """config.yaml beside the weights, {} if it is not there."""
    names: tuple[str, ...]
    softmax: bool
    """Whether the first classifiers were trained under a softmax, so that they have no sigmoid logits."""

    @property
    def options(self) -> dict[str, Any]:
        """What the backbone was built with, without what teaching adds."""
        return {key: value for key, value in self.about.get("options", {}).items() if key != "log_odds"}


def read_given(path: Path) -> Given:
    """Return what a model's files say of it. Raises ValueError, one line, if there is none that can be taught."""
    weights = locate(path)
    about = read_about(weights)
    config = _config(weights.with_name("config.yaml"))
    order, sizes = [int(c) for c in about.get("order", [])], [int(n) for n in about["classes_per_step"]]
    if about.get("classifier", "linear") != "linear" or len(order) != sum(sizes):
        raise ArtifactError(
            f"model {weights} has {about.get('classifier', 'linear')} classifiers {sizes} for {len(order)} classes; "
            "a model that is taught has one 1x1 convolution per step and a channel per class (not SSUL's)"
        )
    names = _names(weights, about, config, order)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ArtifactError(f"model {weights} has two classes of the name `{twice}`")
    softmax = not about.get("options", {}).get("log_odds") and _recipe(weights, about, config) in _SOFTMAX
    return Given(weights, about, config, names, softmax)


def locate(path: Path) -> Path:
    """Return the weights of a step folder, of a folder that `webseg teach` made, or the file itself."""
    if not path.exists():
        raise ArtifactError(f"model {path} does not exist; {_EXPECTED}")
    if path.is_file():
        if path.suffix != ".safetensors":
            raise ArtifactError(f"model {path} is no {WEIGHTS}; {_EXPECTED}")
        return path
    if (path / WEIGHTS).is_file():
        return path / WEIGHTS
    if (path / REQUEST).is_file():
        taught = Path(read_json(path / REQUEST)["taught"])
        if not taught.is_file():
            raise ArtifactError(f"{path} is not taught yet ({taught} is not there); finish its `webseg teach` first")
        return taught
    if (path / "config.json").is_file():
        raise ArtifactError(f"model {path} {_foreign(path / 'config.json')}; {_EXPECTED}")
    held = sorted(file.name for file in path.iterdir())
    raise ArtifactError(f"folder {path} holds {', '.join(held[:3]) or 'nothing'}; {_EXPECTED}")


def squeezed(name: str) -> str:
    """Return a class name without capitals, spaces and hyphens: `potted plant` is VOC's `pottedplant`."""
    return re.sub(r"[\s_-]+", "", unicodedata.normalize("NFKC", name).casefold())


def _foreign(path: Path) -> str:
    try:
        kinds = json.loads(path.read_text()).get("architectures") or ["model"]
    except (OSError, ValueError, AttributeError):
        return "has a config.json that cannot be read"
    if "ImageClassification" in str(kinds[0]):
        return f"is a classifier ({kinds[0]}): it says what an image shows, not where; teach needs a segmenter"
    return f"is a transformers folder ({kinds[0]}), which teach does not read yet"


def _config(path: Path) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ArtifactError(f"{path} cannot be read ({' '.join(str(error).split())}); restore it") from None
    return loaded if isinstance(loaded, dict) else {}


def _recipe(weights: Path, about: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    name = str(about.get("method", ""))
    if name in recipe_names():
        return str(get_recipe(name).name)
    if not name:
        raise ArtifactError(f"model {weights} does not say which method trained it; train or import it again")
    context = (str(about.get("dataset", "")), str(about.get("task", "")), str(about["backbone"]))
    return get(name).recipe_for(settings_of(name, config.get("settings") or {}, *context))


def _names(weights: Path, about: Mapping[str, Any], config: Mapping[str, Any], order: list[int]) -> tuple[str, ...]:
    table = (
        about.get("class_names") or recorded_names(weights, about) or _of_data_set(str(about.get("dataset")), config)
    )
    missing = [c for c in order if c and str(c) not in table]
    if missing:
        raise ArtifactError(
            f"model {weights} does not say how its class {missing[0]} is called; keep it in its results folder, "
            "whose protocol/ names the classes"
        )
    return tuple(str(table[str(c)]) if c else "background" for c in order)


def _of_data_set(dataset: str, config: Mapping[str, Any]) -> dict[str, str]:
    if dataset.startswith("coco"):
        return {str(number): name for number, name in known_names.COCO.items()}
    listed = {"voc": known_names.VOC, "minivoc": known_names.VOC, "ade": known_names.ADE}.get(dataset, ())
    root = (config.get("datasets") or {}).get("root", "")
    if not listed and root and Path(root, "classes.txt").is_file():
        listed = tuple(line.strip() for line in Path(root, "classes.txt").read_text().splitlines())
    return {str(number): name for number, name in enumerate(listed)}
