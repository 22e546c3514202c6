"""Base of EWC, PI and RW: a penalty on moving parameters that mattered (ciss_methods.md 4.5)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from pipeline.losses.importance import Importance
from pipeline.methods import Method, StepInfo


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
        """Return reg_importance * sum of importance times squared movement."""
        weight: float = self.settings.reg_importance
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
