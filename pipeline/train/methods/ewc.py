"""EWC (PNAS 2017) as MiB coded it: hold parameters that mattered for old classes (ciss_methods.md 4.5)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from pipeline.train.importance import EWC, Importance
from pipeline.train.methods import Method, StepInfo, is_segformer, register


class ImportanceMethod(Method):
    """Cross-entropy and a penalty on moving parameters; its statistics run from step 0 on."""

    recipe = "ce_importance"
    needs_teacher = False

    def __init__(self, settings: Any, info: StepInfo) -> None:
        super().__init__(settings, info)
        self.importance = self.statistics()

    def statistics(self) -> Importance:
        """Return the importance object that the settings ask for."""
        raise NotImplementedError

    def observe(self, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> None:
        """Update importance from the gradients of the cross-entropy."""
        self.importance.observe(named_parameters)

    def penalty(self, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> Tensor | None:
        """Return weight * sum of importance times squared movement."""
        weight: float = self.settings.weight
        return weight * self.importance.penalty(named_parameters)

    def state(self) -> dict[str, Tensor]:
        """Return the statistics under the method's name: a base step holds those of several methods."""
        return {f"{self.name}/{key}": value for key, value in self.importance.state_dict().items()}

    def load_state(self, state: Mapping[str, Tensor], resumed: bool) -> None:
        """Take the statistics back. Raises ValueError if the state has none of this method."""
        prefix = f"{self.name}/"
        own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        if not own:
            raise ValueError(
                f"the previous step's method_state.safetensors has no statistics of `{self.name}`; "
                f"train the base with recipe `{self.recipe}`"
            )
        self.importance.load_state_dict(own, resumed=resumed)


@dataclass(frozen=True)
class EwcSettings:
    """MiB's preset for VOC and DeepLab; PLOP's and SATS's code has 100."""

    weight: float = 500.0
    """Weight of the penalty (option reg_importance)."""
    decay: float = 0.9
    """Weight of the newest squared gradient (option reg_alpha); the past fades within a few iterations."""
    normalise: bool = True
    """Scale each tensor's importance to [0, 1] when a step begins."""


@register
class Ewc(ImportanceMethod):
    """CE + weight * sum of scaled Fisher values times squared movement."""

    name = "ewc"
    title = "EWC"
    Settings = EwcSettings

    @classmethod
    def published(cls, dataset: str, task: str, backbone: str) -> dict[str, Any]:
        """Return weight 100 on SegFormer."""
        return {"weight": 100.0} if is_segformer(backbone) else {}

    def statistics(self) -> Importance:
        """Return running squared gradients."""
        return EWC(self.settings.decay, self.settings.normalise)
