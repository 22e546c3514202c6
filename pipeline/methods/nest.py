"""NeST (ECCV 2024): before a step of another method, its new classifier is tuned alone (recent_methods.md 3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from pipeline import distributed
from pipeline.losses import unbiased_cross_entropy
from pipeline.methods import Batch, Heads, register
from pipeline.methods.delegate import Delegate, DelegateSettings
from pipeline.models.network import SegmentationModel
from pipeline.models.pretuning import CombinedClassifier, Selection, install
from pipeline.models.resize import upsample

MOMENTUM, WEIGHT_DECAY, POWER = 0.9, 1e-4, 0.9
"""Of the pre-tuning's own optimizer, as released."""


class NestSettings(DelegateSettings):
    """As released for VOC; the wrapped method is MiB or PLOP in the released scripts."""

    epochs: int = Field(5, ge=0)
    """Epochs of pre-tuning; 15 on ADE."""
    lr_scale: float = 1.0
    """Rate of the pre-tuning as a multiple of the step's (option warm_lr_scale); 500 on ADE."""
    select_size: int = Field(128, ge=1)
    """Side in pixels to which labels, logits and features are resized to initialise the matrices."""
    select_logits: Literal["full", "product"] = "full"
    """full: softmax of the teacher's logits as released; product: of weight times feature, without bias."""
    new_bias: Literal["random", "background"] = "random"
    """First value of the new biases: one fresh random number as released, or the background's bias."""
    pretune_norms: Literal["batch", "frozen"] = "batch"
    """batch: norms see batch statistics and their running ones move, as released; frozen: evaluation mode."""
    freeze_classifiers: Literal["published", "always", "never"] = "published"
    """Freeze the old classifiers in the step: as published, for PLOP on VOC alone."""


@register
class Nest(Delegate):
    """The wrapped method, whose new classifier starts as a tuned combination of the old ones.

    Source: NeST (ECCV 2024), arXiv 2407.14142; recent_methods.md 3.2 to 3.4.
    """

    name = "nest"
    title = "NeST"
    Settings = NestSettings

    @classmethod
    def published(cls, dataset: str, task: str, backbone: str) -> dict[str, Any]:
        """Return the longer and faster pre-tuning of the ADE scripts."""
        return {"epochs": 15, "lr_scale": 500.0} if dataset == "ade" else {}

    @classmethod
    def published_base(cls, base: str, dataset: str, task: str) -> dict[str, Any]:
        """Return MiB's weight in the released scripts."""
        return {"loss_kd": 10.0} if base == "mib" else {}

    @classmethod
    def heads(cls, settings: Any, classes_per_step: Sequence[int]) -> Heads:
        """Return the wrapped method's classifiers. Raises ValueError unless they are 1x1 convolutions, one per step."""
        found = super().heads(settings, classes_per_step)
        if found != Heads(tuple(classes_per_step)):
            raise ValueError(f"nest needs one 1x1 classifier per step, which its base `{settings.base}` does not have")
        return found

    def init_classifier(self, model: SegmentationModel) -> None:
        """Let the wrapped method change the network, but leave the classifiers to `prepare`."""
        before = {key: value.clone() for key, value in model.classifiers.state_dict().items()}
        super().init_classifier(model)
        model.classifiers.load_state_dict(before)
        if self._freezes():
            for classifier in list(model.classifiers)[:-1]:
                classifier.requires_grad_(False)

    def _freezes(self) -> bool:
        choice = self.settings.freeze_classifiers
        if choice == "published":
            return self.settings.base == "plop" and self.info.dataset != "ade"
        return bool(choice == "always")

    def prepare(
        self,
        model: SegmentationModel,
        teacher: SegmentationModel,
        passes: Callable[[int], Iterator[Batch]],
        lr: float,
    ) -> None:
        """Tune the combination with the network frozen, and write it into the classifiers."""
        super().prepare(model, teacher, passes, lr)
        weight, bias = _stacked(teacher)
        selection = Selection(weight, bias, self.info.n_new, self.settings.select_size, self.settings.select_logits)
        batches = 0
        for batch in passes(1):
            with torch.no_grad():
                selection.update(teacher(batch.images).maps[-1], batch.masks)
            batches += 1
        newest = model.classifiers[-1]
        assert isinstance(newest, nn.Conv2d) and newest.bias is not None
        # A fresh classifier's first bias is the random number that the released code takes from another one.
        start = newest.bias[:1] if self.settings.new_bias == "random" else bias[:1]
        combined = CombinedClassifier(weight, bias, *selection.result(), start.expand(self.info.n_new))
        self._tune(combined, model, passes, lr * self.settings.lr_scale, batches * self.settings.epochs)
        install(combined, model.classifiers)

    def _tune(
        self,
        combined: CombinedClassifier,
        model: SegmentationModel,
        passes: Callable[[int], Iterator[Batch]],
        lr: float,
        iterations: int,
    ) -> None:
        optimizer = torch.optim.SGD(
            combined.parameters(), lr=lr, momentum=MOMENTUM, nesterov=True, weight_decay=WEIGHT_DECAY
        )
        if self.settings.pretune_norms == "batch":
            self.train_mode(model)
        else:
            model.eval()
        for iteration, batch in enumerate(passes(self.settings.epochs)):
            for group in optimizer.param_groups:
                group["lr"] = lr * (1 - iteration / iterations) ** POWER
            with torch.no_grad():
                features = model(batch.images).maps[-1]
            optimizer.zero_grad(set_to_none=True)
            tuning_loss(combined, features, batch.masks, self.info.n_old).backward()
            distributed.average_gradients(combined.parameters())
            optimizer.step()


def tuning_loss(combined: CombinedClassifier, features: Tensor, masks: Tensor, n_old: int) -> Tensor:
    """Return the unbiased cross-entropy of the combined classifier on head outputs (recent_methods.md 3.3)."""
    return unbiased_cross_entropy(upsample(combined(features), masks.shape[-2:]), masks, n_old)


def _stacked(teacher: SegmentationModel) -> tuple[Tensor, Tensor]:
    """Return weight (O, D) and bias (O,) of all classifiers."""
    weights, biases = [], []
    for classifier in teacher.classifiers:
        assert isinstance(classifier, nn.Conv2d) and classifier.bias is not None
        weights.append(classifier.weight.detach().flatten(1))
        biases.append(classifier.bias.detach())
    return torch.cat(weights), torch.cat(biases)
