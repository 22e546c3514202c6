"""The configuration of a published experiment (ciss_methods.md 5, web_wilss.md 7).

A method's own values (loss weights and the like) are resolved per task in its file and are not repeated here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from pipeline.artifacts import write_text
from pipeline.config import Published
from pipeline.eval.published_table import MEMORY, ROOT, Key, all_keys, read_table

Settings = dict[str, Any]

ROOTS = {"voc": "data/voc", "ade": "data/ade", "coco-voc": "data"}
_WEAK = ("wilson", "web_wilss")
_BACKBONES = {"r101": "deeplabv3_resnet101", "b2": "segformer_b2", "wrn38": "deeplabv3_wide_resnet38"}
_PRETRAINED = {
    "deeplabv3_resnet101": "resnet101_iabn_sync.pth.tar",
    "deeplabv3_wide_resnet38": "wide_resnet38_ipabn_lr_256.pth.tar",
    "deeplabv3_resnet101_ssul": "resnet101-63fe2227.pth",
    "segformer_b2": "mit_b2.pth",
}
_MEMORY = {"voc": 100, "ade": 300}
_WEB: Settings = {
    "crawl_ingest": {
        "api": "https://api.openverse.org/v1/images/",
        "requests_per_second": 1.0,
        "per_class": 10000,
        "base_per_class": 500,
        "per_caption": 20,
        "min_side": 100,
    },
    "captioning": {
        "captioner": {
            "name": "blip",
            "model": "Salesforce/blip-image-captioning-base",
            "max_new_tokens": 40,
            "batch_size": 16,
        }
    },
    "fourier_filter": {
        "discriminator": {"network": "efficientnet_b0", "resize": 256, "crop": 224, "epochs": 20},
        "selection": {"budget": 500},
    },
}


def settings_of_key(key: Key, published: Sequence[Published]) -> Settings:
    """Return the experiment as a mapping of configuration sections."""
    web = _web(key)
    return {
        "experiment": {"name": key.name, "seeds": [1 if _ssul(key) else 42], "runs": _runs(key, published)},
        "datasets": _datasets(key, published),
        **web,
        "train": _train(key),
        "eval": {"batch_size": 8},
        "published": [p.model_dump(mode="json", exclude_defaults=True) for p in published],
    }


def _ssul(key: Key) -> bool:
    """Whether the authors' own recipe of SSUL applies; its SegFormer rows were trained by SATS's."""
    return key.method == "ssul" and key.backbone == "r101"


def _runs(key: Key, published: Sequence[Published]) -> list[Settings]:
    if key.method == "web_wilss":
        new_images = "dataset" if key.variant.startswith("voc") else "web"
        return [{"method": key.method, "new_images": new_images, "replay": True}]
    if key.variant == "web":
        return [{"method": key.method, "new_images": "web", "filters": "none"}]
    runs: list[Settings] = [{"method": key.method}]
    if any(p.variant == MEMORY for p in published):
        memory = _MEMORY[key.dataset] if _ssul(key) else 300
        runs.append({"method": key.method, "variant": MEMORY, "memory": memory})
    return runs


def _datasets(key: Key, published: Sequence[Published]) -> Settings:
    size = 513 if _ssul(key) else 448 if key.dataset == "coco-voc" else 512
    # MiB trains void as background and ignores what is not annotated when it tests; its tables are of that kind.
    mib = bool(published) and all(p.convention == "mib" for p in published)
    options = {**({"train_crop": "ssul"} if _ssul(key) else {}), **({"label_map": "mib"} if mib else {})}
    return {
        "name": key.dataset,
        "root": ROOTS[key.dataset],
        "task": key.task,
        "setting": key.setting,
        "train_size": size,
        "eval_size": 513 if _ssul(key) else 512,
        **options,
    }


def _train(key: Key) -> Settings:
    backbone = "deeplabv3_resnet101_ssul" if _ssul(key) else _BACKBONES[key.backbone]
    base, step = _phases(key)
    return {
        "backbone": backbone,
        "pretrained": f"pretrained/{_PRETRAINED[backbone]}",
        "workers": 4,
        "base": base,
        "step": step,
        # SSUL's and SATS's code hands on the best epoch, the others the last (ciss_methods.md 5).
        **({"keep": "best"} if _ssul(key) or key.backbone == "b2" else {}),
        "checkpoint_every": 500,
    }


def _phases(key: Key) -> tuple[Settings, Settings]:
    ade = key.dataset == "ade"
    if _ssul(key):
        lr = 0.05 if ade else 0.01
        phase = {"epochs": 100 if ade else 50, "batch_size": 24 if ade else 32, "lr": lr, "iterations": 0}
        return phase, dict(phase)
    base = {"epochs": 60 if ade else 30, "batch_size": 24, "lr": 0.01, "iterations": 0}
    step = {**base, "lr": 0.001}
    if key.method in _WEAK:
        # On COCO-to-VOC WILSON's paper has 40 epochs and alpha 0.5; its released script, followed here, 30 and 0.9.
        step["epochs"] = 30 if (key.method, key.dataset) == ("wilson", "coco-voc") else 40
    elif key.method == "ssul":
        base["epochs"] = step["epochs"] = 50
    elif key.method == "plop" and key.task == "10-1" and key.backbone == "r101":
        step["epochs"] = 10
    return base, step


def _web(key: Key) -> Settings:
    if key.method != "web_wilss" and key.variant != "web":
        return {}
    budget = 500 if key.variant.endswith("500") else 100
    return {
        **_WEB,
        "crawl_ingest": {"pool": f"{key.dataset}_{key.task}", **_WEB["crawl_ingest"]},
        "pseudolabel": {"replay_budget": budget},
    }


def text_of(key: Key, published: Sequence[Published]) -> str:
    """Return the file's text."""
    path = f"experiments/{key.name}.yaml"
    lines = [
        "# Written by `python -m pipeline.experiments write` from experiments/published.tsv; do not edit.",
        f"# snakemake --cores all --configfile {path}",
    ]
    body = yaml.safe_dump(settings_of_key(key, published), sort_keys=False, default_flow_style=None, width=116)
    return "\n".join(lines) + "\n" + body


def write_all(folder: Path = ROOT / "experiments") -> list[str]:
    """Write every experiment's file; return the names of those that changed."""
    table, changed = read_table(), []
    for key in all_keys():
        path, text = folder / f"{key.name}.yaml", text_of(key, table.get(key, []))
        if not path.exists() or path.read_text() != text:
            write_text(path, text)
            changed.append(path.name)
    return changed
