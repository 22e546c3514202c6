"""Which weights a step hands on: the last, or those of the epoch with the best validation score (option `keep`).

`best` repeats what SATS and SSUL released: the mean IoU over background and the classes of the step on the
evaluation images, old classes relabelled as background (ciss_methods.md 6, 8.19). It looks at test images and
favours forgetting; it exists to reproduce published numbers.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline import distributed
from pipeline.artifacts import atomic_dir, read_json, write_text
from pipeline.config import Datasets
from pipeline.datasets.protocol_file import Protocol
from pipeline.datasets.samples import EvalDataset
from pipeline.methods import Method
from pipeline.metrics.confusion import ConfusionMatrix
from pipeline.models import SegmentationModel
from pipeline.models.inference import predict
from pipeline.runtime.tensors import ready_to_save
from pipeline.train.data import label_rule

Score = Callable[[SegmentationModel], float]


class StepScore:
    """Mean IoU, a fraction, over background and the step's classes; the model is put back into training mode.

    Labels follow the rule that the step is trained by, `datasets.label_map` if it names one.
    """

    def __init__(self, protocol: Protocol, datasets: Datasets, method: Method, batch_size: int = 32) -> None:
        self.dataset = EvalDataset(protocol, datasets.eval_side, label_rule(datasets, method), split="val")
        self.method, self.batch_size = method, batch_size

    def __call__(self, model: SegmentationModel) -> float:
        """Return the score of a model on every validation image; processes share them."""
        model.eval()
        n_old, n_total = max(1, self.method.info.n_old), self.method.info.n_total
        matrix = ConfusionMatrix(n_total)
        batches = self.dataset.batches(self.batch_size, distributed.rank(), distributed.size())
        for item, (predicted,) in predict(model, batches, lambda logits: (self.method.decode(logits),)):
            matrix.update(item["mask"], predicted)
        self.method.train_mode(model)
        matrix.counts = distributed.total(torch.from_numpy(matrix.counts)).numpy()
        iou = matrix.iou()[[0, *range(n_old, n_total)]]
        return 0.0 if np.isnan(iou).all() else float(np.nanmean(iou))


class Best:
    """The best weights of a step so far, on disk, so that a resumed step knows them."""

    def __init__(self, folder: Path, score: Score) -> None:
        self.folder, self.score = folder / ".best", score
        self.log = folder / "validation.csv"

    def consider(self, epoch: int, model: SegmentationModel, method: Method) -> None:
        """Score the model; keep it if it beats every epoch before. Equal scores keep the earlier epoch."""
        value = self.score(model)
        if not distributed.is_main():
            return
        self._record(epoch, value)
        facts = self.folder / "facts.json"
        if facts.exists() and value <= read_json(facts)["score"]:
            return
        with atomic_dir(self.folder) as temporary:
            save_file(ready_to_save(model.state_dict()), temporary / "model.safetensors")
            save_file(ready_to_save(method.state()), temporary / "method.safetensors")
            (temporary / "facts.json").write_text(f'{{"score": {value!r}, "epoch": {epoch}}}\n')

    def restore(self, model: nn.Module) -> dict[str, Tensor]:
        """Load the best weights into the model and return the method's state of that epoch."""
        distributed.any_process(False)  # until process 0 has written it
        model.load_state_dict(load_file(self.folder / "model.safetensors"))
        state = load_file(self.folder / "method.safetensors")
        distributed.any_process(False)  # until every process has read it
        return state

    def drop(self) -> None:
        """Remove the weights: once the step's own are written, and those that another training left."""
        if distributed.is_main():
            shutil.rmtree(self.folder, ignore_errors=True)

    def _record(self, epoch: int, value: float) -> None:
        rows = {}
        if self.log.exists():
            with self.log.open(newline="") as file:
                rows = {int(row["epoch"]): row["score"] for row in csv.DictReader(file)}
        rows[epoch] = f"{value:.6f}"
        lines = [f"{known},{rows[known]}" for known in sorted(rows) if known <= epoch]
        write_text(self.log, "\n".join(["epoch,score", *lines]) + "\n")
