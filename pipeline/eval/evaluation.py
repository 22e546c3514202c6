"""Evaluation of one checkpoint on the validation images of a step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pipeline import distributed
from pipeline.artifacts import atomic_dir, atomic_path, read_json, write_json
from pipeline.config import Config
from pipeline.datasets.protocol_file import ImageRecord, Protocol, read_protocol
from pipeline.datasets.samples import EvalDataset
from pipeline.eval.conventions import chosen_on_test_images, conventions
from pipeline.eval.step_means import step_means
from pipeline.methods import Method, StepInfo, get, settings_of
from pipeline.methods.recipes import get_recipe
from pipeline.metrics.confusion import ConfusionMatrix
from pipeline.models import SegmentationModel, load_model
from pipeline.models.inference import predict
from pipeline.runtime.progress import Progress
from pipeline.runtime.threads import use_threads


def evaluate(
    model_path: Path,
    protocol_path: Path,
    out: Path,
    config: Config,
    method: str = "",
    previous: Path | None = None,
    recipe: str = "",
) -> dict[str, Any]:
    """Write eval.json, confusion.npy and overlays/ into `out`; return the content of eval.json.

    Percentages; `iou` is keyed by class name, None for a class without ground truth. `forgetting` is the
    best earlier IoU of a class minus its present one, in points; it needs `previous`, the eval.json of
    the step before. Future classes count as background and void is ignored (but see datasets.label_map `mib`).
    The logits are decoded by `method`, or by the base `recipe`. `other_sets` has the scores on the data set's further
    evaluation sets, from step 1 on. Raises ArtifactError for a checkpoint of another task.
    """
    protocol = read_protocol(protocol_path)
    model = load_model(model_path, expect=protocol.identity())
    rule = config.datasets.label_map
    decoder = _decoder(method, recipe, protocol, config)

    def measure(images: tuple[ImageRecord, ...]) -> tuple[ConfusionMatrix, list[tuple[str, np.ndarray]]]:
        shown = replace(protocol, val=images)
        dataset = EvalDataset(shown, config.datasets.eval_side, "wilson" if rule == "method" else rule)
        return _confusion(model, dataset, config, decoder, len(protocol.order))

    matrix, samples = measure(protocol.val)
    result = _report(matrix, protocol, read_json(previous) if previous else None, config)
    if protocol.step:
        others = protocol.other_val.items()
        result["other_sets"] = {name: _other(measure(images)[0], protocol) for name, images in others}
    out.mkdir(parents=True, exist_ok=True)
    with atomic_dir(out / "overlays") as folder:
        for name, prediction in samples:
            Image.fromarray(prediction.astype(np.uint8)).save(folder / f"{name}.png")
    with atomic_path(out / "confusion.npy") as temporary, temporary.open("wb") as file:
        np.save(file, matrix.counts)
    write_json(out / "eval.json", result)
    return result


def _decoder(method: str, recipe: str, protocol: Protocol, config: Config) -> Method:
    info = StepInfo(protocol.dataset, protocol.task, protocol.step, protocol.step_sizes, epochs=1, seed=0)
    if method:
        return get(method)(settings_of(method, config.methods.get(method, {})), info)
    return get_recipe(recipe)(None, info) if recipe else Method(None, info)


def _confusion(
    model: SegmentationModel, dataset: EvalDataset, config: Config, decoder: Method, n_classes: int
) -> tuple[ConfusionMatrix, list[tuple[str, np.ndarray]]]:
    use_threads(config.train.threads)
    model.to(distributed.device(), memory_format=torch.channels_last)  # type: ignore[call-overload]
    matrix = ConfusionMatrix(n_classes)
    progress = Progress("evaluate", len(dataset))
    shown = set(_spread(len(dataset), config.eval.overlays))
    samples = []
    predictions = predict(
        model,
        dataset.batches(config.eval.batch_size),
        lambda logits: (decoder.decode(logits),),
        memory_format=torch.channels_last,
        progress=progress,
    )
    for index, (item, (prediction,)) in enumerate(predictions):
        matrix.update(np.asarray(item["mask"]), prediction)
        if index in shown:
            samples.append((item["image_id"], prediction))
    return matrix, samples


def _spread(total: int, count: int) -> Sequence[int]:
    count = min(count, total)
    return [round(i * total / count) for i in range(count)] if count else []


def _scores(matrix: ConfusionMatrix, protocol: Protocol) -> dict[str, Any]:
    n_total = len(protocol.order)
    n_old = n_total - len(protocol.new_classes) if protocol.step else n_total
    scores = matrix.scores(range(n_old), range(n_old, n_total))
    return scores | _first_and_last(scores["iou"], protocol.step_sizes[0])


def _other(matrix: ConfusionMatrix, protocol: Protocol) -> dict[str, float | None]:
    scores = _scores(matrix, protocol)
    return {key: _percent(scores[key]) for key in ("old", "new", "all", "all_no_background", "harmonic")}


def _report(
    matrix: ConfusionMatrix, protocol: Protocol, previous: dict[str, Any] | None, config: Config
) -> dict[str, Any]:
    scores = _scores(matrix, protocol)
    scores["all_with_background"] = scores["all"]
    if not config.eval.background_in_mean:
        scores["all"] = scores["all_no_background"]
    if protocol.step == 0:
        # At the base step every class is new to the model and none is old; papers print it as "old".
        scores["new"] = scores["harmonic"] = float("nan")
    iou = {name: _percent(value) for name, value in zip(protocol.channel_names, scores.pop("iou"), strict=True)}
    return {
        **{key: _percent(value) for key, value in scores.items()},
        "iou": iou,
        "forgetting": _forgetting(iou, previous),
        "best_iou": _best(iou, previous),
        "conventions": conventions(config),
        "chosen_on_test_images": chosen_on_test_images(config),
        **protocol.identity(),
        "images": len(protocol.val),
    }


def _first_and_last(iou: NDArray[np.float64], n_base: int) -> dict[str, float]:
    """Return the papers' two columns, such as 0-15 and 16-20 (ciss_methods.md 6)."""
    row = [None if math.isnan(value) else float(value) for value in iou]
    means = step_means([row], n_base)
    return {name: means[name] / 100 for name in ("first", "last")}


def _best(iou: dict[str, float | None], previous: dict[str, Any] | None) -> dict[str, float | None]:
    earlier = previous["best_iou"] if previous else {}
    best: dict[str, float | None] = {}
    for name, value in iou.items():
        values = [v for v in (value, earlier.get(name)) if v is not None]
        best[name] = max(values) if values else None
    return best


def _forgetting(iou: dict[str, float | None], previous: dict[str, Any] | None) -> dict[str, float]:
    lost = {}
    for name, best in (previous["best_iou"] if previous else {}).items():
        now = iou.get(name)
        if best is not None and now is not None:
            lost[name] = round(best - now, 4)
    return lost


def _percent(value: float) -> float | None:
    return None if math.isnan(value) else round(100 * float(value), 4)
