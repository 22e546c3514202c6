"""Losses as pure functions; formulas and sources in each module."""

from pipeline.losses.attention import attention_transfer, class_region_pooling, feature_transfer
from pipeline.losses.distillation import (
    feature_mse,
    icarl_combined,
    icarl_disjoint,
    knowledge_distillation,
    unbiased_knowledge_distillation,
)
from pipeline.losses.pixel import (
    Reduction,
    cross_entropy,
    focal_cross_entropy,
    one_hot,
    reduce_pixels,
    summed_bce,
    unbiased_cross_entropy,
)
from pipeline.losses.pod import local_pod

__all__ = [
    "Reduction",
    "attention_transfer",
    "class_region_pooling",
    "cross_entropy",
    "feature_mse",
    "feature_transfer",
    "focal_cross_entropy",
    "icarl_combined",
    "icarl_disjoint",
    "knowledge_distillation",
    "local_pod",
    "one_hot",
    "reduce_pixels",
    "summed_bce",
    "unbiased_cross_entropy",
    "unbiased_knowledge_distillation",
]
