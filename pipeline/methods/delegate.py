"""Base of methods that wrap another one: every hook is the wrapped method's (recent_methods.md 0.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import Field, field_validator
from torch import Tensor, nn

from pipeline.methods.base import Batch, Forward, Heads, Method, MethodSettings, StepInfo
from pipeline.methods.registry import get, settings_of
from pipeline.models.network import SegmentationModel


class DelegateSettings(MethodSettings):
    """Which method is wrapped, and its own settings."""

    base: str = "mib"
    """Name of the wrapped method, which learns from the pixels of its step."""
    base_settings: dict[str, Any] = Field(default_factory=dict)
    """The wrapped method's settings, over those published for the pair and for the method."""

    @field_validator("base")
    @classmethod
    def _fits(cls, base: str) -> str:
        method = get(base)
        if (method.supervision, method.sees, method.label_rule) != ("pixel", "step", "plop"):
            raise ValueError("expected a method that learns from the pixel masks of its step alone")
        return base


class Delegate(Method):
    """A method that holds another one, `inner`, and does what it does."""

    Settings = DelegateSettings

    @classmethod
    def published_base(cls, base: str, dataset: str, task: str) -> dict[str, Any]:
        """Return settings of the wrapped method that were published for the pair."""
        return {}

    @classmethod
    def inner_settings(cls, settings: Any, dataset: str = "", task: str = "", backbone: str = "") -> Any:
        """Return the wrapped method's settings. Raises ConfigError for a key or value that it refuses."""
        values = {**cls.published_base(settings.base, dataset, task), **settings.base_settings}
        return settings_of(settings.base, values, dataset, task, backbone)

    @classmethod
    def recipe_for(cls, settings: Any) -> str:
        """Return the wrapped method's base recipe."""
        return get(settings.base).recipe_for(cls.inner_settings(settings))

    @classmethod
    def heads(cls, settings: Any, classes_per_step: Sequence[int]) -> Heads:
        """Return the wrapped method's classifiers."""
        return get(settings.base).heads(cls.inner_settings(settings), classes_per_step)

    @classmethod
    def wants_saliency(cls, settings: Any, dataset: str) -> bool:
        """Return whether the wrapped method asks for saliency maps."""
        return get(settings.base).wants_saliency(cls.inner_settings(settings), dataset)

    @classmethod
    def network_options(cls, settings: Any) -> dict[str, Any]:
        """Return the wrapped method's network options."""
        return get(settings.base).network_options(cls.inner_settings(settings))

    def __init__(self, settings: Any, info: StepInfo) -> None:
        super().__init__(settings, info)
        own = self.inner_settings(settings, info.dataset, info.task, info.backbone)
        self.inner = get(settings.base)(own, info)
        self.all_labels = self.inner.all_labels

    def attach(self, model: SegmentationModel) -> nn.Module | None:
        """Return the wrapped method's extra modules."""
        return self.inner.attach(model)

    def init_classifier(self, model: SegmentationModel) -> None:
        """Initialise as the wrapped method does."""
        self.inner.init_classifier(model)

    def param_groups(self, model: SegmentationModel, extra: nn.Module | None, lr: float) -> list[dict[str, Any]]:
        """Return the wrapped method's groups."""
        return self.inner.param_groups(model, extra, lr)

    def constant_epochs(self) -> int:
        """Return the wrapped method's epochs of constant rate."""
        return self.inner.constant_epochs()

    def train_mode(self, model: SegmentationModel) -> None:
        """Put the model in the wrapped method's training mode."""
        self.inner.train_mode(model)

    def calibrate(self, batches: Iterable[Batch], teacher: SegmentationModel) -> None:
        """Let the wrapped method see the training data."""
        self.inner.calibrate(batches, teacher)

    def prepare(
        self,
        model: SegmentationModel,
        teacher: SegmentationModel,
        passes: Callable[[int], Iterator[Batch]],
        lr: float,
    ) -> None:
        """Prepare as the wrapped method does."""
        self.inner.prepare(model, teacher, passes, lr)

    def losses(self, forward: Forward) -> dict[str, Tensor]:
        """Return the wrapped method's terms."""
        return self.inner.losses(forward)

    def observe(self, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> None:
        """Let the wrapped method see the gradients."""
        self.inner.observe(named_parameters)

    def penalty(self, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> Tensor | None:
        """Return the wrapped method's penalty."""
        return self.inner.penalty(named_parameters)

    def finish(
        self,
        model: SegmentationModel,
        teacher: SegmentationModel | None,
        batches: Callable[[], Iterable[Batch]],
    ) -> None:
        """Finish as the wrapped method does."""
        self.inner.finish(model, teacher, batches)

    @property
    def differs_by_process(self) -> bool:
        """Return whether the wrapped method's state differs."""
        return self.inner.differs_by_process

    def state(self) -> dict[str, Tensor]:
        """Return the wrapped method's state."""
        return self.inner.state()

    def load_state(self, state: Mapping[str, Tensor], resumed: bool) -> None:
        """Hand the state to the wrapped method."""
        self.inner.load_state(state, resumed)

    def decode(self, logits: Tensor) -> Tensor:
        """Return the wrapped method's decision."""
        return self.inner.decode(logits)
