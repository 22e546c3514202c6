"""Base steps (step 0): full supervision under one classification loss, shared by many methods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from pipeline.config import Config, ConfigError, nearest
from pipeline.losses import ssul, summed_bce
from pipeline.methods import (
    Forward,
    Heads,
    Method,
    MethodSettings,
    StepInfo,
    departures,
    get,
    names,
    resolve,
    settings_of,
    ssul_schedule,
)
from pipeline.methods.prototype_method import PrototypeMethod
from pipeline.models.network import SegmentationModel
from pipeline.runtime.precision import widened


class CrossEntropyRecipe(Method):
    """Softmax cross-entropy, void ignored (ciss_methods.md 4.0)."""

    name = "ce"
    needs_teacher = False


class ImportanceRecipe(CrossEntropyRecipe):
    """The same training, watched by every method whose statistics begin at step 0 (ciss_methods.md 4.14).

    Watching changes no weight: seed by seed the network equals that of `ce`. The watchers run under their default
    settings.
    """

    name = "ce_importance"
    covers = "ce"
    """A recipe whose network is the same, so that an experiment with both trains this one alone."""

    def __init__(self, settings: Any, info: StepInfo) -> None:
        super().__init__(settings, info)
        watching = [get(name) for name in names() if get(name).recipe == self.name]
        self.watchers = [cls(cls.Settings(), info) for cls in watching]

    def observe(self, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> None:
        """Let every watcher see the gradients."""
        named = list(named_parameters)
        for watcher in self.watchers:
            watcher.observe(named)

    def state(self) -> dict[str, Tensor]:
        """Return the watchers' states; each prefixes its own."""
        return {key: value for watcher in self.watchers for key, value in watcher.state().items()}

    def load_state(self, state: Mapping[str, Tensor], resumed: bool) -> None:
        """Hand the states back."""
        for watcher in self.watchers:
            watcher.load_state(state, resumed)


class BinaryRecipe(Method):
    """Binary cross-entropy summed over classes, void counted as background (web_wilss.md 4.1)."""

    name = "bce"
    label_rule = "wilson"
    needs_teacher = False

    def losses(self, forward: Forward) -> dict[str, Tensor]:
        """Return the summed BCE, mean over all pixels."""
        logits = forward.student_logits()
        return {"bce": summed_bce(logits, forward.batch.masks, reduction="mean_all")}

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return a sigmoid per class; they need not sum to 1."""
        return widened(logits).sigmoid()


class SsulRecipeSettings(MethodSettings):
    """Optimisation of SSUL's step 0."""

    lr_body: float = Field(0.0, ge=0)
    """Learning rate of the body at the start; 0: `train.base.lr`. The authors fix 0.001, whatever their option says."""
    lr_rest: float = Field(0.0, ge=0)
    """Learning rate of head and classifiers at the start; 0: `train.base.lr`. The authors fix 0.01."""
    schedule: ssul_schedule.Schedule = "poly"
    """poly: never below 1e-6; warm_poly: with a rise over a tenth of the step, as on ADE."""


class SsulRecipe(Method):
    """Binary cross-entropy with an unknown class for what stands out in the background (ciss_methods.md 4.10)."""

    name = "ssul"
    needs_teacher = False
    Settings = SsulRecipeSettings

    def __init__(self, settings: Any, info: StepInfo) -> None:
        super().__init__(settings or self.Settings(), info)

    @classmethod
    def published(cls, dataset: str, task: str, backbone: str) -> dict[str, Any]:
        """Return the rates that the authors fix on VOC and ADE for DeepLab, and ADE's schedule (4.10.7, 5)."""
        rates = {"lr_body": 0.001, "lr_rest": 0.01}
        fixed = dataset in ("voc", "ade") and backbone.startswith("deeplabv3_")
        return {**(rates if fixed else {}), **({"schedule": "warm_poly"} if dataset == "ade" else {})}

    def param_groups(self, model: SegmentationModel, extra: nn.Module | None, lr: float) -> list[dict[str, Any]]:
        """Return the body, and head with classifiers, each at its own rate if it has one, else at `lr`."""
        rest = [*model.head.parameters(), *model.classifiers.parameters()]
        return [
            {"params": list(model.body.parameters()), "lr": self.settings.lr_body or lr},
            {"params": rest, "lr": self.settings.lr_rest or lr},
        ]

    def warm_share(self) -> float:
        """Return a tenth under `warm_poly`."""
        return ssul_schedule.warm_share(self.settings.schedule)

    def lr_floor(self) -> float:
        """Return 1e-6 under `poly`."""
        return ssul_schedule.lr_floor(self.settings.schedule)

    @classmethod
    def heads(cls, settings: Any, classes_per_step: Sequence[int]) -> Heads:
        """Return unknown, background and the foreground classes, each with a 3x3 convolution of its own."""
        return Heads(tuple(ssul.head_sizes(classes_per_step)), "conv")

    @classmethod
    def wants_saliency(cls, settings: Any, dataset: str) -> bool:
        """Return true except on ADE, where all background is unknown."""
        return dataset != "ade"

    def losses(self, forward: Forward) -> dict[str, Tensor]:
        """Return the summed BCE, mean over labelled pixels."""
        batch = forward.batch
        targets = ssul.mark_unknown(ssul.to_channels(batch.masks), batch.saliency)
        logits = forward.student_logits()
        return {"bce": summed_bce(logits, targets, reduction="mean_valid", count=forward.count("labelled"))}

    def decode(self, logits: Tensor) -> Tensor:
        """Return SSUL's decision."""
        return ssul.decide(logits)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return a sigmoid per class, the unknown's within the background's."""
        return ssul.merged_scores(logits).clamp(max=1)


class SsulSatsRecipe(Method):
    """Step 0 of the SSUL released with SATS: the unknown channel is never a target (ciss_methods.md 4.10.8)."""

    name = "ssul_sats"
    needs_teacher = False

    @classmethod
    def heads(cls, settings: Any, classes_per_step: Sequence[int]) -> Heads:
        """Return background, unknown and the foreground classes as 1x1 convolutions."""
        return Heads(tuple(ssul.head_sizes(classes_per_step)))

    def losses(self, forward: Forward) -> dict[str, Tensor]:
        """Return the summed BCE, mean over all pixels."""
        targets = ssul.to_sats_channels(forward.batch.masks)
        logits = forward.student_logits()
        return {"bce": summed_bce(logits, targets, reduction="mean_all")}

    def decode(self, logits: Tensor) -> Tensor:
        """Return the best channel, unknown counted as background."""
        return ssul.decide_sats(logits)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return a sigmoid per class, the background's the larger of its own and the unknown's."""
        scores = widened(logits).sigmoid()
        return torch.cat([scores[:, :2].amax(dim=1, keepdim=True), scores[:, 2:]], dim=1)


class PrototypeRecipe(PrototypeMethod):
    """Binary cross-entropy without a background output, and prototypes of the classes (recent_methods.md 4.3)."""

    name = "star"
    needs_teacher = False


class DualRecipe(CrossEntropyRecipe):
    """Softmax cross-entropy on a network whose 3x3 convolutions have two branches (recent_methods.md 5.2)."""

    name = "ce_dual"

    @classmethod
    def network_options(cls, settings: Any) -> dict[str, Any]:
        """Return two branches."""
        return {"branches": 2}


_RECIPES: dict[str, type[Method]] = {
    recipe.name: recipe
    for recipe in (
        CrossEntropyRecipe,
        ImportanceRecipe,
        BinaryRecipe,
        SsulRecipe,
        SsulSatsRecipe,
        PrototypeRecipe,
        DualRecipe,
    )
}


def base_recipes(config: Config) -> dict[str, str]:
    """Return, by name of run, the recipe of the base step that each run of the experiment starts from."""
    own = {
        run.name: get(run.method).recipe_for(settings_of(run.method, config.method_values(run)))
        for run in config.experiment.runs
    }
    covering = {getattr(_RECIPES[recipe], "covers", ""): recipe for recipe in own.values()}
    return {name: covering.get(recipe, recipe) for name, recipe in own.items()}


def recipe_names() -> list[str]:
    """Return the names of all base recipes."""
    return sorted(_RECIPES)


def recipe_settings(name: str, values: Mapping[str, Any], dataset: str = "", task: str = "", backbone: str = "") -> Any:
    """Return a recipe's settings: `values` over what was published for the task over the defaults.

    Raises ConfigError for an unknown recipe or key, and for a value that the recipe refuses.
    """
    return resolve(get_recipe(name), f"train.recipes.{name}", values, dataset, task, backbone)


def recipe_departures(name: str, settings: Any, dataset: str, task: str, backbone: str) -> list[str]:
    """Return a line for every setting of a recipe that differs from the published one."""
    return departures(get_recipe(name), f"train.recipes.{name}", settings, dataset, task, backbone)


def get_recipe(name: str) -> type[Method]:
    """Return the class of a base recipe. Raises ConfigError for an unknown name."""
    if name not in _RECIPES:
        raise ConfigError(f"unknown base recipe `{name}`; {nearest(name, _RECIPES)}")
    return _RECIPES[name]
