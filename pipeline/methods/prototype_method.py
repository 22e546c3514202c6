"""Base of STAR and its base step: outputs without a background, statistics of classes (recent_methods.md 4.2, 4.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pipeline.losses import prototypes as rules
from pipeline.methods import Batch, Forward, Heads, Method, MethodSettings, StepInfo, settings_of
from pipeline.models.network import SegmentationModel
from pipeline.runtime.precision import widened


class PrototypeSettings(MethodSettings):
    """What the base step needs of STAR's settings; as released for VOC."""

    pos_weight: float = 4.0
    """Weight of a class's own pixels in its binary cross-entropy (option pos_weight); 30 on ADE."""
    void: Literal["background", "ignore"] = "background"
    """background: void pixels are negatives of every class, as released; ignore: they carry no loss."""
    grid: int = 0
    """Side in pixels of the cell of which one feature is counted and replayed; 0 takes the stride of the head."""


class PrototypeMethod(Method):
    """Binary cross-entropy on the step's own classes, and prototypes of them when it ends.

    Logit j belongs to class j + 1; a pixel whose largest sigmoid does not exceed 0.5 is background.
    """

    def __init__(self, settings: Any, info: StepInfo) -> None:
        # A base recipe has no settings of its own: it takes STAR's, as published for the task.
        published = (info.dataset, info.task, info.backbone)
        own = settings if isinstance(settings, PrototypeSettings) else settings_of("star", {}, *published)
        super().__init__(own, info)
        self.old: rules.ClassStatistics | None = None
        """Statistics of the classes of earlier steps; `numbers` has the background first."""
        self.known: rules.ClassStatistics | None = None

    @classmethod
    def heads(cls, settings: Any, classes_per_step: Sequence[int]) -> Heads:
        """Return one output per foreground class."""
        return Heads((classes_per_step[0] - 1, *classes_per_step[1:]))

    @property
    def first_class(self) -> int:
        """Return the id of the first foreground class of this step."""
        return max(1, self.info.n_old)

    @property
    def new_classes(self) -> range:
        """Return the ids of the foreground classes of this step."""
        return range(self.first_class, self.info.n_total)

    def init_classifier(self, model: SegmentationModel) -> None:
        """Draw the newest classifier's weights from a Kaiming normal distribution."""
        newest = model.classifiers[-1]
        assert isinstance(newest, nn.Conv2d)
        nn.init.kaiming_normal_(newest.weight)

    def param_groups(self, model: SegmentationModel, extra: nn.Module | None, lr: float) -> list[dict[str, Any]]:
        """Return body at lr, head and classifier at ten times it."""
        parts = (model.body.parameters(), [*model.head.parameters(), *model.classifiers.parameters()])
        groups = zip(parts, (lr, 10 * lr), strict=True)
        return [{"params": [p for p in part if p.requires_grad], "lr": rate} for part, rate in groups]

    def own_losses(self, forward: Forward) -> Tensor:
        """Return l_ori of every class of this step."""
        logits = forward.student_logits()[:, -len(self.new_classes) :]
        settings = self.settings
        count = {"count": forward.count("known")} if settings.void == "ignore" else {}
        return rules.own_classes_bce(
            logits, forward.batch.masks, self.first_class, settings.pos_weight, void=settings.void, **count
        )

    def losses(self, forward: Forward) -> dict[str, Tensor]:
        """Return the sum of the binary cross-entropies."""
        return {"bce": self.own_losses(forward).sum()}

    def every(self, masks: Tensor, features: Tensor) -> int:
        """Return of how many positions of the features, in each direction, one is used."""
        return max(1, self.settings.grid * features.shape[-1] // masks.shape[-1])

    def sampled(self, features: Tensor, every: int) -> Tensor:
        """Return features (B, D, h, w) at the positions whose labels `at_grid` returns."""
        return features[..., every // 2 :: every, every // 2 :: every]

    @torch.no_grad()
    def finish(
        self,
        model: SegmentationModel,
        teacher: SegmentationModel | None,
        batches: Callable[[], Iterable[Batch]],
    ) -> None:
        """Measure the prototypes of the step's classes in one pass, in evaluation mode."""
        model.eval()
        channels = next(iter(model.classifiers)).in_channels
        assert isinstance(channels, int)
        counter = rules.PrototypeCounter(self.new_classes, channels)
        for batch in batches():
            features = model(batch.images).maps[-1]
            every = self.every(batch.masks, features)
            labels = rules.at_grid(batch.masks, (features.shape[-2], features.shape[-1]), every)
            counter.update(self.sampled(features, every), labels)
        background, new = counter.result()
        self.known = self._joined(background, new)

    def _joined(self, background: Tensor, new: rules.ClassStatistics) -> rules.ClassStatistics:
        return new._replace(numbers=torch.cat([background[None], new.numbers]))

    def state(self) -> dict[str, Tensor]:
        """Return the statistics of every class so far; before the step's end, of the earlier ones."""
        found = self.known or self.old
        return {} if found is None else dict(found._asdict())

    def load_state(self, state: Mapping[str, Tensor], resumed: bool) -> None:
        """Take the statistics of earlier steps back."""
        fields = rules.ClassStatistics._fields
        if fields[0] in state:
            self.old = rules.ClassStatistics(*(state[name] for name in fields))

    def decode(self, logits: Tensor) -> Tensor:
        """Return the class of the largest sigmoid, background where none exceeds 0.5."""
        return rules.old_prediction(logits, 0.0)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return a sigmoid per class, and for the background what the most likely class leaves."""
        scores = widened(logits).sigmoid()
        return torch.cat([1 - scores.amax(dim=1, keepdim=True), scores], dim=1)
