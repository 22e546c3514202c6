"""Every method, one file each, and their registry."""

from pipeline.methods.base import Batch, Forward, Heads, Method, MethodSettings, NoSettings, StepInfo, is_segformer
from pipeline.methods.registry import get, names, overridden, published_settings, register, settings_of

__all__ = [
    "Batch",
    "Forward",
    "Heads",
    "Method",
    "MethodSettings",
    "NoSettings",
    "StepInfo",
    "get",
    "is_segformer",
    "names",
    "overridden",
    "published_settings",
    "register",
    "settings_of",
]
