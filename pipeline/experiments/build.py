"""The configuration of a published experiment (ciss_methods.md 5, web_wilss.md 7,
recent_methods.md): all its methods in one file.

A method's own values (loss weights and the like) are resolved per task in its file and are not repeated here.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from pipeline.artifacts import write_text
from pipeline.config import Published
from pipeline.eval.published_table import ADE, BACKBONES, COCO_VOC, MEMORY, ROOT, VOC, Key, read_table

Settings = dict[str, Any]

HEADER = "# Written by `python -m pipeline.experiments write` from experiments/published.tsv; do not edit."
ROOTS = {VOC: "data/voc", ADE: "data/ade", COCO_VOC: "data"}
ORDER = (
    *("ft", "pi", "ewc", "rw", "lwf", "lwf_mc", "ilt", "mib", "plop", "rcil", "ewf", "nest", "ssul", "star", "sats"),
    *("wilson", "rasp", "web_wilss", "joint"),
)
"""Order of the runs in a file."""
_WEAK = ("wilson", "rasp", "web_wilss")
_PRETRAINED = {
    "r101": "resnet101_iabn_sync.pth.tar",
    "wrn38": "wide_resnet38_ipabn_lr_256.pth.tar",
    "r101_ssul": "resnet101-63fe2227.pth",
    "r101_star": "resnet101-63fe2227.pth",
    "b2": "mit_b2.pth",
}
_REPLAYED = 100
_VARIANTS: dict[tuple[str, str], Settings] = {
    ("wilson", "web"): {"new_images": "web", "filters": "none"},
    ("web_wilss", "voc100"): {"new_images": "dataset", "replay": True},
    ("web_wilss", "voc500"): {"new_images": "dataset", "replay": True, "replay_budget": 500},
    ("web_wilss", "web100"): {"new_images": "web", "replay": True},
    ("ewf", "plop"): {"settings": {"base": "plop"}},
    ("nest", "plop"): {"settings": {"base": "plop"}},
    ("nest", "rcil"): {"settings": {"base": "rcil"}},
}
"""What a variant of the table sets in its run; the number in a name is that of the replay images."""
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
    "pseudolabel": {"replay_budget": _REPLAYED},
}


def settings_of_key(key: Key, published: Sequence[Published]) -> Settings:
    """Return the experiment as a mapping of configuration sections."""
    runs = [_run(key, method, variant) for method, variant in rows(published)]
    web = any(run.get("replay") or run.get("new_images") == "web" for run in runs)
    return {
        "experiment": {"name": key.name, "seeds": [1 if _ssul(key) or _star(key) else 42], "runs": runs},
        "datasets": _datasets(key, published),
        **(_web(key) if web else {}),
        "train": _train(key),
        "eval": {"batch_size": 8},
        "published": [p.model_dump(mode="json", exclude_defaults=True) for p in published],
    }


def rows(published: Sequence[Published]) -> list[tuple[str, str]]:
    """Return (method, variant) of every run, each once, in the order of ORDER."""
    found = {(p.method, p.variant) for p in published}
    return sorted(found, key=lambda row: (ORDER.index(row[0]), row[1]))


def deviations(key: Key, published: Sequence[Published]) -> dict[tuple[str, str], str]:
    """Return, by (method, variant), in what a run differs from its paper because the file's runs share something."""
    found: dict[tuple[str, str], str] = {}
    for row in rows(published):
        method, variant = row
        conventions = {p.convention for p in published if (p.method, p.variant) == row}
        words = []
        if conventions == {"mib"} and not _all_mib(published):
            words.append("labels by each method's own rule; MiB trains void as background, tests what is annotated")
        if _own_base_epochs(key, method) != _base(key)["epochs"]:
            shared = _base(key)["epochs"]
            words.append(f"{shared} epochs at step 0, as the other rows; published {_own_base_epochs(key, method)}")
        if method in ("nest", "rcil") and key.dataset == VOC:
            words.append("rate 0.01 at step 0, as the other rows; published 0.02")
        if (method, key.dataset, key.task) == ("ewf", ADE, "100-50"):
            words.append("batches of 24, as the other rows; published 48")
        if method == "star" and key.dataset == ADE:
            words.append("no warm-up of the rate; published over a fifth of the iterations")
        if words:
            found[method, variant] = "; ".join(words)
    return found


def _ssul(key: Key) -> bool:
    """Whether the authors' own recipe of SSUL applies; its SegFormer rows were trained by SATS's."""
    return key.backbone == "r101_ssul"


def _star(key: Key) -> bool:
    return key.backbone == "r101_star"


def _all_mib(published: Sequence[Published]) -> bool:
    return all(p.convention == "mib" for p in published)


def _run(key: Key, method: str, variant: str) -> Settings:
    run: Settings = {"method": method, **({"variant": variant} if variant else {})}
    if variant == MEMORY:
        run["memory"] = 50 if _star(key) else 100 if _ssul(key) and key.dataset == VOC else 300
    elif variant:
        run |= _VARIANTS[method, variant]
    own = {name: value for name, value in _step(key, method).items() if value != _step(key)[name]}
    return run | ({"train": {"step": own}} if own else {})


def _datasets(key: Key, published: Sequence[Published]) -> Settings:
    size = 513 if _ssul(key) else 448 if key.dataset == COCO_VOC else 512
    # MiB trains void as background and ignores what is not annotated when it tests; its tables are of that kind.
    options = {
        **({"train_crop": "ssul"} if _ssul(key) else {}),
        **({"label_map": "mib"} if _all_mib(published) else {}),
    }
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
    return {
        "backbone": BACKBONES[key.backbone],
        "pretrained": f"pretrained/{_PRETRAINED[key.backbone]}",
        "workers": 4,
        "base": _base(key),
        "step": _step(key),
        # SSUL's and SATS's code hands on the best epoch, the others the last (ciss_methods.md 5).
        **({"keep": "best"} if _ssul(key) or key.backbone == "b2" else {}),
        "checkpoint_every": 500,
    }


def _base(key: Key) -> Settings:
    """Return the optimisation of step 0, the same for every run of a file."""
    ade = key.dataset == ADE
    ssul = (100, 24, 0.05) if ade else (50, 32, 0.01)
    if _star(key):
        ssul = (100, 24, 0.0025) if ade else (60, 24, 0.001)
    phase = ssul if _ssul(key) or _star(key) else (60 if ade else 30, 24, 0.01)
    return dict(zip(("epochs", "batch_size", "lr", "iterations"), (*phase, 0), strict=True))


def _own_base_epochs(key: Key, method: str) -> int:
    """Return the epochs of step 0 that were published with a method."""
    return 50 if method == "ssul" and not _ssul(key) else int(_base(key)["epochs"])


def _step(key: Key, method: str = "") -> Settings:
    """Return the optimisation of later steps, that of most methods or of one."""
    step = {**_base(key), **({} if _ssul(key) else {"lr": 0.001})}
    if _star(key):
        step["lr"] = 0.00025 if key.dataset == ADE else 0.0001
    if method in _WEAK:
        # On COCO-to-VOC WILSON's paper has 40 epochs and alpha 0.5; its released script, followed here, 30 and 0.9.
        step["epochs"] = 30 if (method, key.dataset) == ("wilson", COCO_VOC) else 40
    elif method == "ssul" and not _ssul(key):
        step["epochs"] = 50
    elif method in ("plop", "nest") and (key.task, key.backbone) == ("10-1", "r101"):
        step["epochs"] = 10
    return step


def _web(key: Key) -> Settings:
    return {**_WEB, "crawl_ingest": {"pool": f"{key.dataset}_{key.task}", **_WEB["crawl_ingest"]}}


class _Line(dict[str, Any]):
    """A mapping that stands on one line."""


class _Dumper(yaml.SafeDumper):
    """Writes a run per line."""


_Dumper.add_representer(_Line, lambda dumper, run: dumper.represent_mapping("tag:yaml.org,2002:map", run, True))


def text_of(key: Key, published: Sequence[Published]) -> str:
    """Return the file's text."""
    path = f"experiments/{key.name}.yaml"
    names = [f"{method}+{variant}" if variant else method for method, variant in rows(published)]
    lines = [HEADER, f"# snakemake --cores all --configfile {path}"]
    if len(names) > 1:
        lines.append(f"# snakemake --cores all --configfile {path} --config only={names[0]}    # one row")
    by_words: dict[str, list[str]] = {}
    for (method, variant), words in deviations(key, published).items():
        by_words.setdefault(words, []).append(f"{method}+{variant}" if variant else method)
    lines += ["# Otherwise than published, so that the runs share step 0 and data:"] if by_words else []
    for words, found in by_words.items():
        lines += textwrap.wrap(f"{', '.join(found)}: {words}.", 116, initial_indent="#   ", subsequent_indent="#     ")
    settings = settings_of_key(key, published)
    settings["experiment"]["runs"] = [_Line(run) for run in settings["experiment"]["runs"]]
    body = yaml.dump(settings, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=116)
    return "\n".join(lines) + "\n" + body


def write_all(folder: Path = ROOT / "experiments") -> list[str]:
    """Write every experiment's file; return the names of those that changed."""
    changed = []
    for key, published in read_table().items():
        path, text = folder / f"{key.name}.yaml", text_of(key, published)
        if not path.exists() or path.read_text() != text:
            write_text(path, text)
            changed.append(path.name)
    return changed


def left_over(folder: Path = ROOT / "experiments") -> list[str]:
    """Return the names of files that an earlier table wrote and this one does not. They are not removed."""
    names = {f"{key.name}.yaml" for key in read_table()}
    return sorted(p.name for p in folder.glob("*.yaml") if p.name not in names and p.read_text().startswith(HEADER))
