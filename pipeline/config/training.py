"""Sections of training and evaluation."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from pipeline.config.section import Section


class Phase(Section):
    """Optimisation of one kind of step (web_wilss.md 7, ciss_methods.md 5)."""

    epochs: int = Field(30, ge=1)
    """passes over which the learning rate decays; 30 on VOC, 60 on ADE in the papers"""
    batch_size: int = Field(24, ge=1)
    """images of an optimizer step, all processes together; 24 in the papers"""
    lr: float = Field(0.01, gt=0)
    """learning rate at the start; 0.01 at step 0 and 0.001 later in the papers"""
    iterations: int = Field(0, ge=0)
    """iterations that the epochs take, whatever the number of images; 0: as many as the images give"""


class Train(Section):
    """The engine: backbone, precision, and the optimisation of base and incremental steps."""

    backbone: str = "small_cnn"
    """small_cnn, small_segformer, deeplabv3_resnet101, segformer_b2, ... (pipeline.models)"""
    backbone_options: dict[str, Any] = Field(default_factory=dict)
    """what the backbone offers, e.g. {head: official} for SegFormer (ciss_methods.md 3.2)"""
    pretrained: str = ""
    """file of ImageNet weights of the body: in-place ABN's, torchvision's, MiT's, timm's"""
    pretrained_sha256: str = ""
    """refuse another file; empty: any"""
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    """float32 or bfloat16"""
    world_size: int = Field(1, ge=1)
    """processes that train together, one per GPU; batch_size is that of all together"""
    threads: int = Field(2, ge=1)
    """threads of each process"""
    workers: int = Field(0, ge=0)
    """processes that load data, for each"""
    gradient_accumulation: int = Field(1, ge=1)
    """micro-batches of an optimizer step, for memory's sake; batch_size stays the batch of the step"""
    freeze_bn: bool = False
    """false: batch norms see the images at hand; true: they keep the statistics they begin with (docs/training.md)"""
    base: Phase = Phase(epochs=30, batch_size=24, lr=0.05, iterations=800)
    """optimisation of step 0 (web_wilss.md 7, ciss_methods.md 5)"""
    step: Phase = Phase(epochs=40, batch_size=24, lr=0.005, iterations=400)
    """optimisation of later steps (web_wilss.md 7, ciss_methods.md 5)"""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Nesterov momentum of SGD (web_wilss.md 7.1)"""
    weight_decay: float = Field(1e-4, ge=0)
    """on every parameter (web_wilss.md 7.1)"""
    recipes: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """settings of base recipes, over those published for the task: {ssul: {lr_body: 0.001}} (docs/methods.md)"""
    replay_epoch: Literal["first", "larger"] = "first"
    """epoch with replay images or exemplars: first: one pass of the step's images; larger: of the larger set, as
    released (web_wilss.md 5.5)"""
    keep: Literal["last", "best"] = "last"
    """weights handed on: last, or best on the step's classes of the test images (SATS, SSUL; ciss_methods.md 5)"""
    checkpoint_every: int = Field(50, ge=1)
    """iterations between resumable states"""
    tensorboard: bool = True
    """write TensorBoard's event files beside log.csv"""


class Eval(Section):
    """Evaluation after each step (ciss_methods.md 6, web_wilss.md 8)."""

    batch_size: int = Field(32, ge=1)
    """images"""
    background_in_mean: bool = True
    """whether `all` counts the background; all_no_background is always beside it"""
    overlays: int = Field(12, ge=0)
    """validation images whose predictions the report shows"""
