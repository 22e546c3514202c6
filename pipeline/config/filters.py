"""Sections of what becomes of filtered web images: the Fourier filter, and pseudo-labelled replay."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pipeline.config.section import Section


class Discriminator(Section):
    """Fourier domain discriminator, trained once at step 0 (web_wilss.md 6.8)."""

    network: Literal["efficientnet_b0", "small"] = "small"
    """small, or efficientnet_b0 as in the paper"""
    amplitude: Literal["log", "linear"] = "log"
    """scale of the amplitude spectrum: log or linear"""
    resize: int = Field(72, ge=16)
    """shorter side before cropping, pixels; 256 with efficientnet_b0"""
    crop: int = Field(64, ge=16)
    """side of the crop, pixels; 224 with efficientnet_b0"""
    epochs: int = Field(12, ge=1)
    """passes over its images; 20 with efficientnet_b0"""
    batch_size: int = Field(64, ge=2)
    """images, half of each domain"""
    lr: float = Field(1e-3, gt=0)
    """learning rate of AdamW"""
    weight_decay: float = Field(1e-2, ge=0)
    """weight decay of AdamW"""
    per_class: int = Field(500, ge=1)
    """images per class and domain at most"""
    held_out_repeats: int = Field(3, ge=0)
    """random halves of the base classes held out, to measure transfer"""
    held_out_epochs: int = Field(6, ge=1)
    """epochs of each of those trainings"""
    seed: int = 42
    """seed of weights, order and halves"""

    @model_validator(mode="after")
    def _consistent(self) -> Discriminator:
        if self.crop > self.resize:
            raise ValueError(f"crop is {self.crop} and resize is {self.resize}; a crop must fit into the resized image")
        return self


class Selection(Section):
    """How many candidates are kept per class and by which rule (web_wilss.md 6.8, Selection)."""

    rule: Literal["threshold", "topk", "threshold_then_topk"] = "threshold_then_topk"
    """threshold, topk, threshold_then_topk"""
    budget: int = Field(50, ge=1)
    """images kept per new class; 500 in the paper"""


class FourierFilter(Section):
    """Discriminator and selection."""

    discriminator: Discriminator = Discriminator()
    selection: Selection = Selection()


class PseudoLabel(Section):
    """Replay images: how many are kept and how they are labelled by the previous model (web_wilss.md 5.2)."""

    replay_budget: int = Field(360, ge=1)
    """replay images in all; 100 or 500 in the paper (web_wilss.md 12)"""
    per_query: int = Field(2, ge=1)
    """replay images per caption (web_wilss.md 5.1)"""
    max_side: int = Field(1024, ge=32)
    """longer side at which an image is labelled at most, pixels"""
    batch_size: int = Field(32, ge=1)
    """images labelled at once"""
