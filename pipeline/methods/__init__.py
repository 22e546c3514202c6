"""Every method, one file each, and their registry."""

from pipeline.methods.base import Batch, Forward, Heads, Method, MethodSettings, NoSettings, StepInfo, is_segformer
from pipeline.methods.registry import (
    departures,
    get,
    names,
    overridden,
    published_settings,
    register,
    resolve,
    settings_of,
)

__all__ = [
    "Batch",
    "Forward",
    "Heads",
    "Method",
    "MethodSettings",
    "NoSettings",
    "StepInfo",
    "departures",
    "get",
    "is_segformer",
    "names",
    "overridden",
    "published_settings",
    "register",
    "resolve",
    "settings_of",
]
