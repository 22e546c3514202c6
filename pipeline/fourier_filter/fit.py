"""Fitting the discriminator once at step 0, and measuring whether it transfers to unseen classes."""

from __future__ import annotations

import io
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.artifacts import MANIFEST, image_address, image_id_of, read_table, write_json
from pipeline.artifacts.rows import ManifestRow
from pipeline.config import Discriminator as Settings
from pipeline.datasets.protocol_file import Protocol, read_protocol
from pipeline.fourier_filter.pictures import load_all, load_square
from pipeline.fourier_filter.training import fit, fit_profile, profile_features
from pipeline.metrics.auroc import auroc
from pipeline.runtime.threads import use_threads


@dataclass(frozen=True)
class Domain:
    """Pictures of one domain, uint8 (N, 3, side, side), and the classes each stands for."""

    pictures: Tensor
    classes: list[set[int]]
    uris: list[str]

    def within(self, chosen: set[int]) -> list[int]:
        """Return the positions of the pictures whose classes all lie in `chosen`."""
        return [i for i, classes in enumerate(self.classes) if classes and classes <= chosen]


def fit_discriminator(
    protocol: Path, manifest: Path, shards: Path, settings: Settings, out_model: Path, out_metrics: Path
) -> dict[str, Any]:
    """Write the discriminator and metrics.json; return the metrics.

    Positives: base images of the protocol. Negatives: unfiltered web images of the base classes, as many per
    class as the class has positives, at most `per_class`. No image of a new class is used.
    """
    started = time.monotonic()
    use_threads()
    base = read_protocol(protocol)
    known = set(base.order) - {0}
    dataset = _dataset(base, known, settings)
    web = _web(read_table(manifest, MANIFEST), shards, base, settings)
    model, validation = fit(dataset.pictures, web.pictures, settings, settings.epochs, seed=settings.seed)
    scores = model.scores(web.pictures).numpy()
    metrics = {
        "images": {"dataset": len(dataset.pictures), "web": len(web.pictures)},
        "validation_auroc": validation,
        "held_out": _held_out(dataset, web, known, settings),
        "web_kept_at_ratio_1": float((scores > 0).mean()),
        "dataset_kept_at_ratio_1": float((model.scores(dataset.pictures) > 0).float().mean()),
        "mean_score_per_class": _per_class(web, scores, base.class_names),
        "encoder_control_auroc": _encoder_control(model, dataset, settings),
        "temperature": float(model.get_buffer("temperature")),
        "seconds": round(time.monotonic() - started, 1),
    }
    model.save(out_model, {"classes": sorted(known)})
    write_json(out_metrics, metrics)
    return metrics


def _dataset(protocol: Protocol, known: set[int], settings: Settings) -> Domain:
    uris = [row.image for row in protocol.train]
    pictures = load_all(uris, settings.resize, "data set images")
    return Domain(pictures, [set(row.labels) & known for row in protocol.train], uris)


def _web(rows: Sequence[ManifestRow], shards: Path, protocol: Protocol, settings: Settings) -> Domain:
    available: dict[int, int] = defaultdict(int)
    for image in protocol.train:
        for class_id in image.labels:
            available[class_id] += 1
    taken: dict[int, int] = defaultdict(int)
    chosen = []
    for row in rows:
        class_id = row["class_ids"][0] if row["class_ids"] else -1
        if row["status"] == "kept" and taken[class_id] < min(available[class_id], settings.per_class):
            taken[class_id] += 1
            chosen.append(row)
    uris = [image_address(f"{shards}/{row['shard']}.tar", row["image_id"]) for row in chosen]
    pictures = load_all(uris, settings.resize, "web images")
    return Domain(pictures, [set(row["class_ids"]) for row in chosen], uris)


def _held_out(dataset: Domain, web: Domain, known: set[int], settings: Settings) -> dict[str, Any]:
    """Train on a random half of the base classes, test on images of the other half alone.

    `scores` keeps every tested image's score per repeat, for whoever knows the truth about the web images. A repeat
    in which no image shows classes of one half alone is left out; the mean of none is None.
    """
    results: dict[str, list[float]] = {"fourier": [], "pixel": [], "radial_profile": []}
    kept: list[dict[str, Any]] = []
    for repeat in range(settings.held_out_repeats):
        rng = np.random.default_rng((settings.seed, repeat))
        order = [int(c) for c in rng.permutation(sorted(known))]
        seen, unseen = set(order[: len(order) // 2]), set(order[len(order) // 2 :])
        train = dataset.pictures[dataset.within(seen)], web.pictures[web.within(seen)]
        test = dataset.pictures[dataset.within(unseen)], web.pictures[web.within(unseen)]
        if min(map(len, train)) < 2 or not min(map(len, test)):
            print(f"held-out classes, repeat {repeat}: too few images show one half alone; left out", file=sys.stderr)
            continue
        values: dict[str, list[Any]] = {}
        for domain in ("fourier", "pixel"):
            model, _ = fit(*train, settings, settings.held_out_epochs, domain, settings.seed + repeat)
            values[domain] = [model.scores(part).numpy() for part in test]
        profile: Any = fit_profile(*train, settings)
        values["radial_profile"] = [profile.decision_function(profile_features(p, settings)) for p in test]
        names = [image_id_of(web.uris[i]) for i in web.within(unseen)]
        for name, (a, b) in values.items():
            results[name].append(auroc(a, b))
            scored = {image: round(float(score), 4) for image, score in zip(names, b, strict=True)}
            kept.append(
                {
                    "features": name,
                    "repeat": repeat,
                    "dataset": [round(float(v), 4) for v in a],
                    "web": scored,
                }
            )
    means = {
        name: {"mean": float(np.mean(values)) if values else None, "repeats": values}
        for name, values in results.items()
    }
    return {**means, "scores": kept}


def _per_class(web: Domain, scores: np.ndarray, names: dict[int, str]) -> dict[str, float]:
    grouped: dict[str, list[float]] = defaultdict(list)
    for classes, score in zip(web.classes, scores, strict=True):
        for class_id in classes:
            grouped[names[class_id]].append(float(score))
    return {name: round(float(np.mean(values)), 4) for name, values in sorted(grouped.items())}


def _encoder_control(model: Any, dataset: Domain, settings: Settings) -> float:
    """Score base images against themselves re-encoded and enlarged as the web would: 0.5 means neither is seen."""
    from pipeline.datasets.images import open_image

    chosen = dataset.uris[:: max(1, len(dataset.uris) // 200)]
    again = np.stack([load_square(_as_web(open_image(uri), i), settings.resize) for i, uri in enumerate(chosen)])
    plain = np.stack([load_square(open_image(uri), settings.resize) for uri in chosen])
    a, b = (model.scores(torch.from_numpy(p.copy()).permute(0, 3, 1, 2)).numpy() for p in (plain, again))
    return auroc(a, b)


def _as_web(image: Image.Image, index: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=(84, 88, 95)[index % 3], subsampling=index % 2)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")
