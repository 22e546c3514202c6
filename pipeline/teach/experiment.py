"""The experiment that teaches: settings that fit the given model, and the few files beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pipeline.artifacts import Layout, atomic_dir, write_json
from pipeline.captioning.vocabulary import Vocabulary
from pipeline.config import Config, merge, parse_config, read_yaml
from pipeline.runtime.shipped import shipped
from pipeline.teach.given import REQUEST, Given, squeezed
from pipeline.teach.request import Request

EXPERIMENT = "experiment.yaml"
NAME = "taught"
RUN: dict[str, Any] = {"method": "web_wilss", "new_images": "web", "filters": "both", "replay": True}
STEP = 1
GEOMETRY = ("train_size", "eval_size", "train_area", "train_crop", "eval_crop")
LARGE: dict[str, Any] = {
    "captioning": {
        "captioner": {"name": "blip", "model": "Salesforce/blip-image-captioning-base", "max_new_tokens": 40,
                      "batch_size": 16},
    },
    "crawl_ingest": {"per_class": 2000, "base_per_class": 200, "per_caption": 20, "min_side": 100},
    "fourier_filter": {
        "discriminator": {"network": "efficientnet_b0", "resize": 256, "crop": 224, "epochs": 20},
        "selection": {"budget": 500},
    },
    "pseudolabel": {"replay_budget": 500},
    "train": {"step": {"epochs": 40, "batch_size": 24, "lr": 0.001, "iterations": 0}, "checkpoint_every": 500,
              "workers": 4},
    "eval": {"batch_size": 8},
}  # fmt: skip
"""Settings of real photographs, those of the papers' experiments; a model named small_* keeps config.yaml's."""
OPEN_WEB: dict[str, Any] = {
    "api": "", "requests_per_second": 1.0, "connections_per_host": 2, "connections": 8, "timeout": 30.0
}  # fmt: skip


def settings_for(request: Request, given: Given, user: Mapping[str, Any], contact: str = "") -> dict[str, Any]:
    """Return the experiment's settings over config.yaml, the user's own (`--config`) over ours."""
    out, small = Path(request.out), str(given.about["backbone"]).startswith("small_")
    geometry = given.config.get("datasets") or {}
    trained = given.config.get("train") or {}
    own: dict[str, Any] = {
        "experiment": {"name": NAME, "data_dir": f"{out}/data", "results_dir": f"{out}/results", "runs": [RUN]},
        "datasets": {
            "name": "taught",
            "root": f"{out}/data/taught",
            "task": NAME,
            "setting": "overlap",
            **{key: geometry[key] for key in GEOMETRY if key in geometry},
        },
        "teach": {
            "model": str(given.weights),
            "like": request.like,
            "check": request.check,
            "max_forgetting": request.max_forgetting,
        },
        "crawl_ingest": {"pool": NAME, **OPEN_WEB},
        "captioning": {"vocabulary": f"{out}/data/taught/vocabulary.tsv"},
        "train": {
            "backbone": given.about["backbone"],
            "backbone_options": given.options,
            **({"precision": trained["precision"]} if "precision" in trained else {}),
        },
    }
    if not request.like:
        own = merge(own, _by_name(len(given.names) - 1, small))
    if contact:
        own["crawl_ingest"]["user_agent"] = f"webseg-teach ({contact})"
    return merge(own if small else merge(LARGE, own), user)


def _by_name(n_old: int, small: bool) -> dict[str, Any]:
    """Return what changes without images of the user's: old classes by name, web images by their captions alone."""
    budget = Config().pseudolabel.replay_budget if small else int(LARGE["pseudolabel"]["replay_budget"])
    per_class = -(-budget // n_old)
    return {
        "experiment": {"runs": [{**RUN, "filters": "noun"}]},
        "crawl_ingest": {"per_caption": 3 * per_class},
        "captioning": {"noun_filter": {"replay_rule": "classes"}},
        "pseudolabel": {"per_query": per_class},
    }


def parsed(settings: Mapping[str, Any]) -> Config:
    """Return the whole configuration. Raises ConfigError for a mistake in the user's `--config`."""
    return parse_config(merge(read_yaml(shipped("config.yaml")), settings))


def taught_model(config: Config) -> str:
    """Return where the taught model will lie."""
    run, seed = config.experiment.runs[0].name, config.experiment.seeds[0]
    return Layout.of(config).step(run, seed, STEP, "model.safetensors")


def write_experiment(request: Request, given: Given, settings: Mapping[str, Any], command: str) -> Path:
    """Write the folder `--out`, all of it or nothing; return the experiment's file."""
    known, new = len(given.names), request.classes
    names = [*given.names, *new]
    steps = [list(range(known)), list(range(known, len(names)))]
    text = yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True, width=120)
    with atomic_dir(request.out) as folder:
        data = folder / "data" / "taught"
        data.mkdir(parents=True)
        (data / "classes.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
        (data / "tasks.yaml").write_text(f"{NAME}: {json.dumps(steps)}\n")
        (data / "vocabulary.tsv").write_text(vocabulary(names[1:]), encoding="utf-8")
        (folder / EXPERIMENT).write_text(f"# {command}\n{text}", encoding="utf-8")
        write_json(folder / REQUEST, request.record(given, taught_model(parsed(settings))))
    return Path(request.out) / EXPERIMENT


def vocabulary(names: Sequence[str]) -> str:
    """Return class words (class, tab, words): the shipped ones under the model's spelling, else the name itself."""
    shipped_words = dict(Vocabulary.load().words)
    keys = {squeezed(name): name for name in shipped_words}
    lines = []
    for name in names:
        words = shipped_words.pop(keys.get(squeezed(name), ""), (" ".join(name.lower().split()),))
        lines.append(f"{name}\t{', '.join(word.replace(',', ' ') for word in words)}\n")
    # Words of classes that the model does not know still claim their phrases, such as `hot dog`.
    lines += [f"{name}\t{', '.join(words)}\n" for name, words in shipped_words.items()]
    return "".join(lines)
