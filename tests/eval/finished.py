"""A finished experiment on disk, drawn at random: every table the report reads, no network behind it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.artifacts import (
    FOURIER,
    MANIFEST,
    NEW_CLASSES,
    NOUN_COMPARISON,
    NOUN_FILTER,
    REPLAY,
    TRUTH,
    Layout,
    write_json,
    write_table,
)
from pipeline.config import Config, parse_config
from pipeline.datasets.protocol_file import ImageRecord
from tests.protocols import protocol_at

NAMES = ["aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
         "horse", "motorbike", "person"]  # fmt: skip
NEW = ["pottedplant", "sheep", "sofa", "train", "tvmonitor"]
SIDE = 32
COST = {"wall_seconds": 60.0, "cpu_seconds": 50.0, "peak_memory_mb": 100.0, "items": 10, "unit": "images",
        "items_per_second": 1.0, "gpu": None, "host": "box", "machine": "x86_64"}  # fmt: skip


def settings(folder: Path, published: Sequence[dict[str, Any]] = (), **experiment: Any) -> Config:
    return parse_config(
        {
            "experiment": {"name": "e", "seeds": [0, 1], "results_dir": str(folder / "results"),
                           "data_dir": str(folder / "data"), **experiment},
            "datasets": {"root": str(folder / "data" / "minivoc"), "eval_size": SIDE},
            "crawl_ingest": {"pool": "p"},
            **({"published": list(published)} if published else {}),
        }
    )  # fmt: skip


class Finished:
    """The experiment `e`: three runs, two seeds, one step; every number drawn from `seed`."""

    def __init__(
        self, folder: Path, seed: int = 0, published: Sequence[dict[str, Any]] = (), **experiment: Any
    ) -> None:
        self.config = settings(folder, published, **experiment)
        self.paths, self.folder, self.rng = Layout.of(self.config), folder, np.random.default_rng(seed)
        self.evals: dict[Path, dict[str, Any]] = {}
        self._protocols()
        self._trainings()

    def with_web(self) -> Finished:
        """Add a crawl with every table of its selection, its truth and the discriminator's scores."""
        self.urls: dict[str, str] = {}
        truth: list[dict[str, Any]] = []
        for plan, count in (("base", 60), ("step1", 80), ("replay1", 50)):
            write_table(self.paths.manifest(plan), self._manifest(plan, count, truth), MANIFEST)
        write_table(self.paths.truth(), truth, TRUTH)
        self._selection()
        self._metrics()
        return self

    def _protocols(self) -> None:
        masks = self.folder / "masks"
        masks.mkdir(parents=True, exist_ok=True)
        val = []
        for i in range(4):
            mask = np.zeros((SIDE + 8, SIDE + 14), np.uint8)
            # One pixel wide: a mask that is interpolated has classes between these.
            mask[:, ::2], mask[::2] = 2, 20
            mask[:4], mask[-3:] = 255, 9
            Image.fromarray(mask).save(masks / f"v{i}.png")
            picture = self.rng.integers(0, 255, (*mask.shape, 3), dtype=np.uint8)
            Image.fromarray(picture).save(masks / f"v{i}.jpg")
            val.append(ImageRecord(f"v{i}", str(masks / f"v{i}.jpg"), str(masks / f"v{i}.png"), (2, 9, 20)))
        names = dict(enumerate([*NAMES, *NEW], 1))
        for step in (0, 1):
            order = tuple(range(16 + 5 * step))
            path = Path(self.paths.protocol(step))
            path.parent.mkdir(parents=True, exist_ok=True)
            protocol_at(path, dataset="minivoc", step=step, order=order, class_names=names, val=tuple(val))

    def _trainings(self) -> None:
        from pipeline.methods.recipes import base_recipes

        recipes, seeds = base_recipes(self.config), self.config.experiment.seeds
        folders = {(recipe, s): self.paths.base(recipe, s, "") for recipe in {*recipes.values()} for s in seeds}
        for (_, s), folder in folders.items():
            self._training(Path(folder), 16, s)
        for run in self.config.experiment.runs:
            for s in seeds:
                self._training(Path(self.paths.step(run.name, s, 1, "")), 21, s)

    def _training(self, folder: Path, classes: int, seed: int) -> None:
        iou: dict[str, float | None] = {
            name: round(float(self.rng.uniform(1, 99)), 4) for name in ["background", *NAMES, *NEW][:classes]
        }
        iou["cow"] = None
        known = [v for v in iou.values() if v is not None]
        result = {key: round(float(self.rng.uniform(1, 99)), 4) for key in ("old", "new", "all_no_background")}
        result |= {"all": float(np.mean(known)), "harmonic": 1.5, "first": 3.0, "last": 4.0}
        if classes == 16:
            result |= {"new": None, "harmonic": None}
        forgetting = {
            name: round(float(self.rng.uniform(-5, 60)), 4) for name in ["background", *NAMES] if name != "cow"
        }
        about = {"conventions": "background counts", "chosen_on_test_images": self.config.train.keep == "best"}
        evaluated = {**result, "iou": iou, "forgetting": forgetting if classes > 16 else {}, **about}
        folder.mkdir(parents=True, exist_ok=True)
        self.evals[folder] = evaluated
        write_json(folder / "eval.json", evaluated)
        write_json(folder / "cost.json", COST)
        np.save(folder / "confusion.npy", self.rng.integers(1, 500, (classes, classes)))
        with (folder / "log.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["iteration", "term", "value"])
            writer.writerows([i, term, 1 / (i + 1)] for i in range(5) for term in ("loss", "loss_kd"))
        (folder / "overlays").mkdir(exist_ok=True)
        for i in range(2):
            labels = self.rng.integers(0, classes, (SIDE, SIDE), dtype=np.uint8)
            Image.fromarray(labels).save(folder / "overlays" / f"v{i}.png")

    def _manifest(self, plan: str, count: int, truth: list[dict[str, Any]]) -> list[dict[str, Any]]:
        rows = []
        for i in range(count):
            name = f"{plan}{i:03d}"
            self.urls[name] = f"http://a.test/{name}"
            status = str(self.rng.choice(["kept", "kept", "kept", "failed", "duplicate"]))
            reason = {"kept": "", "failed": f"http_{i % 3}", "duplicate": "duplicate_near"}[status]
            wanted = int(self.rng.integers(1, 16)) if plan != "step1" else 16 + i % 5
            row: dict[str, Any] = {key: "" for key in MANIFEST.names}
            row |= {"http_status": 200, "width": 1, "height": 1, "bytes": 1, "rank": i, "class_ids": [wanted]}
            rows.append(row | {"image_id": name, "url": self.urls[name], "status": status, "reason": reason})
            shown = [wanted] if self.rng.random() < 0.6 else [int(self.rng.integers(1, 21))]
            known: dict[str, Any] = {key: "" for key in TRUTH.names}
            known |= {"query_class": wanted, "class_ids": shown, "alt_is_misleading": False}
            truth.append(known | {"url": self.urls[name], "style": str(self.rng.choice(["photo", "noisy", "cartoon"]))})
        return rows

    def kept(self, plan: str) -> list[dict[str, Any]]:
        """Rows of a manifest that were kept."""
        from pyarrow.parquet import read_table

        return [row for row in read_table(self.paths.manifest(plan)).to_pylist() if row["status"] == "kept"]

    def _selection(self) -> None:
        pictures = [str(self.folder / "masks" / f"v{i}.jpg") for i in range(4)]
        for role, plan, suffix in (("new", "step1", ""), ("replay", "replay1", "_replay")):
            nouns, compared, chosen, fourier, replay = [], [], [], [], []
            for i, row in enumerate(self.kept(plan)):
                passed, score = bool(self.rng.random() < 0.5), round(float(self.rng.normal()), 3)
                reason = "" if passed else "below_threshold"
                both = {"image_id": row["image_id"], "class_id": row["class_ids"][0]}
                noun: dict[str, Any] = {key: "" for key in NOUN_FILTER.names}
                noun |= {**both, "nouns": [], "labels": row["class_ids"], "score": 0.5, "threshold": 0.6}
                nouns.append(noun | {"caption": f"caption {i}", "role": role, "kept": passed, "reason": reason})
                for rule in ("paper", "classes"):
                    compared.append({"image_id": row["image_id"], "class_ids": row["class_ids"], "role": role,
                                     "similarity": "embedding", "rule": rule, "score": 0.5,
                                     "kept": bool(self.rng.random() < 0.5)})  # fmt: skip
                fourier.append({**both, "p_dataset": 0.5, "p_web": 0.5, "score": score, "threshold": 0.0,
                                "kept": score > 0, "reason": ""})  # fmt: skip
                for filters in ("none", "noun", "fourier", "both"):
                    kept = bool(self.rng.random() < 0.4) and (passed or filters in ("none", "fourier"))
                    said = f"noun:{reason}" if filters in ("noun", "both") and not passed else "below_threshold"
                    chosen.append({**both, "filters": filters, "labels": row["class_ids"], "image": pictures[i % 4],
                                   "rank": i, "noun_score": 0.5, "fourier_score": score, "kept": kept,
                                   "reason": "" if kept else said})  # fmt: skip
                replay.append(
                    {
                        "image_id": row["image_id"],
                        "query_id": "",
                        "source_image_id": "",
                        "class_ids": [1],
                        "image": "",
                        "score": 0.5,
                        "threshold": 0.6,
                        "kept": bool(i % 3 == 0),
                        "reason": "",
                    }
                )
            write_table(self.paths.selection(1, f"noun_filter{suffix}"), nouns, NOUN_FILTER)
            write_table(self.paths.selection(1, f"noun_comparison{suffix}"), compared, NOUN_COMPARISON)
            if role == "new":
                write_table(self.paths.selection(1, "fourier"), fourier, FOURIER)
                write_table(self.paths.selection(1, "new_classes"), chosen, NEW_CLASSES)
            else:
                write_table(self.paths.selection(1, "replay"), replay, REPLAY)

    def _metrics(self) -> None:
        base, scores = self.kept("base"), []
        for repeat in range(3):
            for features in ("fourier", "pixel", "radial_profile"):
                tested = base[repeat::2]
                web = {row["image_id"]: round(float(self.rng.normal(-0.5)), 1) for row in tested}
                dataset = [round(float(v), 1) for v in self.rng.normal(0.5, 1, 15)]
                scores.append({"features": features, "repeat": repeat, "dataset": dataset, "web": web})
        means = {name: {"mean": 0.5, "repeats": [0.5]} for name in ("fourier", "pixel", "radial_profile")}
        write_json(self.paths.fourier("metrics.json"),
                   {"held_out": {**means, "scores": scores}, "encoder_control_auroc": 0.5})  # fmt: skip
