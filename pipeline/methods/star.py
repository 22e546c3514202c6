"""STAR (NeurIPS 2023): features of old classes drawn from their prototypes (recent_methods.md 4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline import distributed
from pipeline.losses import prototypes as rules
from pipeline.methods import Batch, Forward, StepInfo, register
from pipeline.methods.prototype_method import PrototypeMethod, PrototypeSettings
from pipeline.models.network import SegmentationModel
from pipeline.models.resize import upsample


class StarSettings(PrototypeSettings):
    """As released for VOC."""

    pkd: float = 5.0
    """Weight of l_pkd, which keeps the features of old classes."""
    cont: float = 0.05
    """Weight of l_cont, which keeps new centres from old prototypes."""
    old_threshold: float = 0.5
    """Logit above which the teacher sees an old class; 0 is the rule at test time."""
    norm_noise: Literal["channel", "feature"] = "channel"
    """Draw the norm's noise per channel as released, or once per feature."""
    shared_background: float = 0.5
    """Share of the background that steps of an overlapping task have in common."""
    future_background: float = 0.01
    """Share of the earlier background that each new class takes, in an overlapping task."""
    freeze_old: bool = False
    """Take old classifiers out of the optimizer; as released, weight decay acts on them."""


@register
class Star(PrototypeMethod):
    """l_mbce on labels, replayed features and background features + pkd * l_pkd + cont * l_cont.

    Source: STAR (NeurIPS 2023); recent_methods.md 4.3 and 4.4.
    """

    name = "star"
    title = "STAR"
    recipe = "star"
    Settings = StarSettings

    @classmethod
    def published(cls, dataset: str, task: str, backbone: str) -> dict[str, Any]:
        """Return the weight of a class's pixels on ADE."""
        return {"pos_weight": 30.0} if dataset == "ade" else {}

    def __init__(self, settings: Any, info: StepInfo) -> None:
        super().__init__(settings, info)
        self._newest: nn.Conv2d | None = None
        self._predicted: Tensor | None = None
        """Pixels by class that the teacher sees where labels say 0, background first, and the images they are of."""

    def init_classifier(self, model: SegmentationModel) -> None:
        """Draw the newest classifier and freeze the norms; the losses ask that classifier about replayed features."""
        super().init_classifier(model)
        newest = model.classifiers[-1]
        assert isinstance(newest, nn.Conv2d)
        self._newest = newest
        for module in model.modules():
            if isinstance(module, _BatchNorm | nn.LayerNorm):
                module.requires_grad_(False)
        if self.settings.freeze_old:
            for classifier in list(model.classifiers)[:-1]:
                classifier.requires_grad_(False)

    def param_groups(self, model: SegmentationModel, extra: nn.Module | None, lr: float) -> list[dict[str, Any]]:
        """Return body, head and old classifiers, newest classifier at 1, 10, 10 and 100 times the rate."""
        *old, newest = model.classifiers
        earlier = [p for classifier in old for p in classifier.parameters()]
        parts = (model.body.parameters(), [*model.head.parameters(), *earlier], newest.parameters())
        groups = zip(parts, (lr, 10 * lr, 100 * lr), strict=True)
        return [{"params": [p for p in part if p.requires_grad], "lr": rate} for part, rate in groups]

    def train_mode(self, model: SegmentationModel) -> None:
        """Keep norms' statistics and all features."""
        model.eval()

    @torch.no_grad()
    def calibrate(self, batches: Iterable[Batch], teacher: SegmentationModel) -> None:
        """Count, over one pass, what the teacher sees in the background."""
        found = torch.zeros(self.info.n_old + 1, dtype=torch.float64)
        for batch in batches:
            output = teacher(batch.images)
            features = output.maps[-1]
            masks, every = batch.masks, self.every(batch.masks, features)
            labels, seen = (
                rules.at_grid(x, (features.shape[-2], features.shape[-1]), every)
                for x in (masks, self._old_classes(output.logits, masks))
            )
            found[:-1] += torch.bincount(seen[labels == 0], minlength=self.info.n_old).cpu()
            found[-1] += len(masks)
        self._predicted = distributed.total(found)

    def _old_classes(self, logits: Tensor, masks: Tensor) -> Tensor:
        return rules.old_prediction(upsample(logits, masks.shape[-2:]), self.settings.old_threshold)

    def _plan(self) -> rules.ReplayPlan:
        assert self.old is not None and self._predicted is not None
        settings, disjoint = self.settings, self.info.setting == "disjoint"
        shares = (settings.shared_background, settings.future_background)
        return rules.replay_plan(self.old.numbers, self._predicted[:-1], self.info.n_new, disjoint, *shares)

    def losses(self, forward: Forward) -> dict[str, Tensor]:
        """Return the three terms, weighted."""
        assert forward.teacher is not None
        features, taught, masks = forward.student.maps[-1], forward.teacher.maps[-1], forward.batch.masks
        seen = self._old_classes(forward.teacher.logits, masks)
        terms = {"mbce": self._balanced(forward, features, seen)}
        region = (masks == 0) & (seen > 0)
        count = forward.count("region")
        terms["pkd"] = self.settings.pkd * rules.old_feature_distillation(features, taught, region, count=count)
        if self.old is not None:
            centres = self.old.prototypes
            terms["cont"] = self.settings.cont * rules.centre_distance(features, masks, self.new_classes, centres)
        return terms

    def _balanced(self, forward: Forward, features: Tensor, seen: Tensor) -> Tensor:
        own = self.own_losses(forward)
        if self.old is None:
            return own.sum()
        plan, masks, parts = self._plan(), forward.batch.masks, forward.whole.parts
        every = self.every(masks, features)
        size = (features.shape[-2], features.shape[-1])
        labels, old = (rules.at_grid(x, size, every) for x in (masks, seen))
        positions = labels.numel() * parts
        replayed, share = self._replayed(plan, len(masks), parts, features)
        free = (labels == 0) & (old == 0)
        count = forward.count("background")
        extra = count.total(free.sum())
        found = self.sampled(features, every).movedim(1, -1)[free]
        negatives = F.softplus(self._scores(found)).sum(dim=0) * parts / extra.clamp(min=1)
        weight = plan.gain * extra / positions
        return rules.balanced_bce(own, replayed, negatives, share * parts / positions, weight).sum()

    def _replayed(self, plan: rules.ReplayPlan, images: int, parts: int, like: Tensor) -> tuple[Tensor, float]:
        """Return l_rep (n,) on this part's replayed features, and how many they are."""
        assert self.old is not None and self._predicted is not None
        per_batch = plan.missing * (images * parts / float(self._predicted[-1].clamp(min=1)))
        counts = [round(int(number) / parts) for number in per_batch.tolist()]
        statistics = rules.ClassStatistics(*(x.to(like.device, torch.float32) for x in self.old))

        def normal(shape: tuple[int, ...]) -> Tensor:
            return torch.randn(shape, device=like.device)

        total, drawn = torch.zeros(self.info.n_new, device=like.device), sum(counts)
        for features in rules.replayed_features(statistics, counts, normal, self.settings.norm_noise):
            total = total + F.softplus(self._scores(features[0, :, :, 0].T)).sum(dim=0)
        return total / max(1, drawn), float(drawn)

    def _scores(self, rows: Tensor) -> Tensor:
        assert self._newest is not None
        return F.linear(rows, self._newest.weight.flatten(1), self._newest.bias).float()

    def _joined(self, background: Tensor, new: rules.ClassStatistics) -> rules.ClassStatistics:
        """Append the new classes; the background's number is the plan's."""
        if self.old is None:
            return super()._joined(background, new)
        pairs = zip(self.old[1:], new[1:], (0, 1, 0), strict=True)
        numbers = torch.cat([self._plan().numbers, new.numbers])
        return rules.ClassStatistics(numbers, *(torch.cat([a.double(), b], dim=axis) for a, b, axis in pairs))

    def state(self) -> dict[str, Tensor]:
        """Return the statistics, and what the teacher saw in this step."""
        found = super().state()
        return found if self._predicted is None else {**found, "predicted": self._predicted}

    def load_state(self, state: Mapping[str, Tensor], resumed: bool) -> None:
        """Take the statistics back; a new step counts for itself what the teacher sees."""
        super().load_state(state, resumed)
        if resumed:
            self._predicted = state.get("predicted")
