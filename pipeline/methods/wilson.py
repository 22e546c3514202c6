"""WILSON (CVPR 2022): incremental segmentation from image-level labels through a localizer.

web_wilss.md 4.2-4.11 has every formula. All losses work at the resolution of the logits; on a backbone whose body is
coarser (SegFormer) the localizer's output is brought to it.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from pipeline.losses import feature_mse, wilson
from pipeline.methods import Forward, Method, MethodSettings, StepInfo, register
from pipeline.models.network import SegmentationModel, channels_of
from pipeline.models.resize import upsample
from pipeline.models.small_cnn import norm_act


class WilsonSettings(MethodSettings):
    """Defaults are those of the released scripts (web_wilss.md 4.12, 7.3)."""

    alpha: float = 0.5
    """Mix of hard and soft localizer output in the targets; 0.5 in the paper (eq. 9), 0.9 in the COCO script."""
    pseudo_epoch: int = 5
    """First epoch with l_SSS and l_SEG (option pseudo_ep)."""
    lr_head: float = 10.0
    """Learning rate of head and classifiers as a multiple of the encoder's (option lr_head)."""
    lr_localizer: float = 0.01
    """Learning rate of the localizer (option lr_pseudo)."""
    loss_de: float = 1.0
    """Weight of encoder distillation (the released option)."""
    l_seg: float = 1.0
    """Weight of l_SEG (the released option)."""
    pooling: Literal["ngwp", "att", "mean"] = "ngwp"
    """Pooling of the classification loss: ngwp, att or mean (option cam)."""
    affinity: bool = True
    """Refine the localizer's masks by PAMR (option affinity)."""
    background_mix: float = -1.0
    """Background target: -1 takes the minimum of old and localizer score, else their mix (option icarl_bkg)."""
    all_labels: bool = False
    """Classification loss over every known class in the labels, not the new ones alone (paper's figure)."""
    localizer_width: int = Field(96, ge=1)
    """Channels of the localizer; the released code uses 256 on 2048-channel features."""


class Localizer(nn.Sequential):
    """Two 3x3 convolutions and a classifier on the body's features (web_wilss.md 3.7)."""

    def __init__(self, channels: int, n_classes: int, width: int = 256) -> None:
        super().__init__(
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            norm_act(width),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            norm_act(width),
            nn.Conv2d(width, n_classes, 1),
        )


@register
class Wilson(Method):
    """l_CLS + l_LOC + l_ENC, and from epoch `pseudo_epoch` on also l_SSS + l_SEG (web_wilss.md 4.2).

    Source: WILSON (CVPR 2022); web_wilss.md 4.2.
    """

    name = "wilson"
    title = "WILSON"
    recipe = "bce"
    supervision = "image"
    label_rule = "wilson"
    Settings = WilsonSettings

    @classmethod
    def published(cls, dataset: str, task: str, backbone: str) -> dict[str, Any]:
        """Return the localizer's published width, and alpha 0.9 for COCO (the released script)."""
        width = {} if backbone.startswith("small_") else {"localizer_width": 256}
        return {**width, "alpha": 0.9} if dataset == "coco-voc" else width

    def __init__(self, settings: Any, info: StepInfo) -> None:
        super().__init__(settings, info)
        self.all_labels = settings.all_labels
        self.localizer: nn.Module | None = None

    def attach(self, model: SegmentationModel) -> nn.Module:
        """Return a fresh localizer; it is re-initialised at every step."""
        self.localizer = Localizer(channels_of(model.body), self.info.n_total, self.settings.localizer_width)
        return self.localizer

    def param_groups(self, model: SegmentationModel, extra: nn.Module | None, lr: float) -> list[dict[str, Any]]:
        """Return the groups of web_wilss.md 7.1: encoder, head and classifiers, localizer."""
        assert extra is not None
        decoder = [*model.head.parameters(), *model.classifiers.parameters()]
        return [
            {"params": list(model.body.parameters()), "lr": lr},
            {"params": decoder, "lr": lr * self.settings.lr_head},
            {"params": list(extra.parameters()), "lr": self.settings.lr_localizer},
        ]

    def constant_epochs(self) -> int:
        """Return the epochs before l_SSS and l_SEG start (schedule `warmup`, web_wilss.md 7.2)."""
        return int(self.settings.pseudo_epoch)

    def losses(self, forward: Forward) -> dict[str, Tensor]:
        """Return the terms of the weak step."""
        teacher, student = forward.teacher, forward.student
        assert teacher is not None and self.localizer is not None
        old = teacher.logits.float()
        localized_eval, localized = (upsample(x, old.shape[-2:]) for x in self._localize(student.body))
        terms = {
            **self._localizer_terms(forward, localized, old),
            "enc": self.settings.loss_de * feature_mse(student.body, teacher.body),
        }
        if forward.epoch >= self.settings.pseudo_epoch:
            terms.update(self._pseudo_losses(forward, localized_eval, localized, old))
        else:
            # Head and classifiers get a gradient of zero, not none: weight decay acts on them (web_wilss.md 4.2).
            terms["cls"] = terms["cls"] + 0 * student.logits.float().sum()
        return terms

    def _localizer_terms(self, forward: Forward, localized: Tensor, old: Tensor) -> dict[str, Tensor]:
        batch = forward.batch
        labels = batch.labels if self.settings.all_labels else batch.labels[:, -self.info.n_new :]
        return {
            "cls": wilson.classification_loss(localized, labels, pooling=self.settings.pooling),
            "loc": wilson.localization_prior(localized, old),
        }

    def _self_supervision(self, forward: Forward, localized: Tensor, pseudo: Tensor) -> Tensor:
        return wilson.self_supervised_loss(localized, pseudo, forward.batch.labels)

    def _localize(self, features: Tensor) -> tuple[Tensor, Tensor]:
        # The reference takes pseudo-labels from an evaluation pass and gradients from a training pass.
        assert self.localizer is not None
        self.localizer.eval()
        with torch.no_grad():
            steady: Tensor = self.localizer(features).float()
        self.localizer.train()
        return steady, self.localizer(features).float()

    def _pseudo_losses(
        self, forward: Forward, localized_eval: Tensor, localized: Tensor, old: Tensor
    ) -> dict[str, Tensor]:
        labels = forward.batch.labels
        with torch.no_grad():
            masks = localized_eval.softmax(dim=1)
            if self.settings.affinity:
                masks = wilson.pamr(wilson.denormalise(forward.batch.images), masks)
            pseudo = wilson.hard_pseudo_mask(wilson.keep_labelled(masks, labels))
            mix = None if self.settings.background_mix < 0 else self.settings.background_mix
            targets = wilson.soft_targets(localized_eval, old, labels, alpha=self.settings.alpha, background_mix=mix)
            weights = wilson.image_weights(localized_eval, labels, self.info.n_new, alpha=self.settings.alpha)
        segmentation = wilson.segmentation_loss(
            forward.student.logits.float(), targets, weights, count=forward.count("images")
        )
        return {
            "sss": self._self_supervision(forward, localized, pseudo),
            "seg": self.settings.l_seg * segmentation,
        }
