"""Base steps (step 0): full supervision under one classification loss, shared by many methods."""

from __future__ import annotations

from torch import Tensor

from pipeline.config import ConfigError, nearest
from pipeline.train.losses import summed_bce
from pipeline.train.methods import Forward, Method
from pipeline.train.resize import upsample


class CrossEntropyRecipe(Method):
    """Softmax cross-entropy, void ignored (ciss_methods.md 4.0)."""

    name = "ce"
    needs_teacher = False


class BinaryRecipe(Method):
    """Binary cross-entropy summed over classes, void counted as background (web_wilss.md 4.1)."""

    name = "bce"
    label_rule = "wilson"
    needs_teacher = False

    def losses(self, forward: Forward) -> dict[str, Tensor]:
        """Return the summed BCE, mean over all pixels."""
        logits = upsample(forward.student.logits, forward.batch.masks.shape[-2:])
        return {"bce": summed_bce(logits, forward.batch.masks, reduction="mean_all")}


_RECIPES = {recipe.name: recipe for recipe in (CrossEntropyRecipe, BinaryRecipe)}


def get_recipe(name: str) -> type[Method]:
    """Return the class of a base recipe. Raises ConfigError for an unknown name."""
    if name not in _RECIPES:
        raise ConfigError(f"unknown base recipe `{name}`; {nearest(name, _RECIPES)}")
    return _RECIPES[name]
