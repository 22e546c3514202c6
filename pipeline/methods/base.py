"""The base class of every method, and what a step tells it.

A method is one file beside this one: a model of its settings and a class with hooks. Every hook
has a neutral default, so plain fine-tuning is an empty class. The engine owns backward, precision,
clipping, logging and resume, and never asks which method it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from pipeline.distributed.whole_batch import Count, WholeBatch
from pipeline.losses import cross_entropy
from pipeline.models.network import Output, SegmentationModel
from pipeline.models.resize import upsample
from pipeline.runtime.precision import widened


@dataclass(frozen=True)
class StepInfo:
    """Facts of a step. Channels 0..n_old-1 are the teacher's, n_old..n_total-1 are new."""

    dataset: str
    task: str
    step: int
    classes_per_step: tuple[int, ...]
    epochs: int
    seed: int
    backbone: str = "small_cnn"
    setting: str = "overlap"
    """`overlap`, `disjoint` or `partition`: which images a step sees."""
    names: tuple[str, ...] = ()
    """Class name of every channel, background first; empty where nobody gave names."""

    @property
    def n_total(self) -> int:
        """Outputs after this step, background included."""
        return sum(self.classes_per_step)

    @property
    def n_new(self) -> int:
        """Outputs added by this step."""
        return self.classes_per_step[-1]

    @property
    def n_old(self) -> int:
        """Outputs of the previous model; 0 at step 0."""
        return self.n_total - self.n_new


@dataclass(frozen=True)
class Batch:
    """One batch. images (B, 3, H, W) normalised; masks (B, H, W) channel ids or 255; labels (B, N-1) in
    channel order without background; image_ids and roles (`dataset`, `web`, `replay`, `memory`, `joint`) of
    length B; saliency (B, H, W), 1 where an object stands out, for methods that ask for it.
    """

    images: Tensor
    masks: Tensor
    labels: Tensor
    image_ids: tuple[str, ...]
    roles: tuple[str, ...]
    saliency: Tensor | None = None

    def split(self, parts: int) -> list[Batch]:
        """Return the batch cut into so many batches of consecutive images, which must divide it."""
        size, rest = divmod(len(self.images), parts)
        assert rest == 0, f"{len(self.images)} images in {parts} parts"
        return [self._cut(slice(start, start + size)) for start in range(0, len(self.images), size)]

    def _cut(self, part: slice) -> Batch:
        saliency = None if self.saliency is None else self.saliency[part]
        tensors = (self.images[part], self.masks[part], self.labels[part])
        return Batch(*tensors, self.image_ids[part], self.roles[part], saliency)

    def remembered(self) -> Tensor:
        """Return (B, 1, 1), true for exemplars of the memory: their masks show old classes too."""
        flags = [role == "memory" for role in self.roles]
        return torch.tensor(flags, device=self.masks.device)[:, None, None]


@dataclass(frozen=True)
class Forward:
    """All that a loss may use. `teacher` is None at step 0 and for methods that need none."""

    batch: Batch
    student: Output
    teacher: Output | None
    epoch: int
    whole: WholeBatch = field(default_factory=WholeBatch)

    def count(self, name: str) -> Count:
        """Return a count over the whole batch, of which this pass may see one part (process or micro-batch).

        A loss that divides by a count of pixels or images takes one as `count=`; each such loss has a name of its own.
        """
        return self.whole.count(name)

    def student_logits(self) -> Tensor:
        """Return the student's logits (B, N, H, W) at the masks' size, at least float32."""
        return upsample(self.student.logits, self.batch.masks.shape[-2:])

    def logits(self) -> tuple[Tensor, Tensor]:
        """Return student (B, N, H, W) and teacher (B, O, H, W) logits at the masks' size, at least float32."""
        assert self.teacher is not None
        return self.student_logits(), upsample(self.teacher.logits, self.batch.masks.shape[-2:])


class MethodSettings(BaseModel):
    """Base of every method's settings: immutable, closed to unknown keys, types as declared (1 passes for 1.0).

    A field's docstring says what it is, in which unit, and where its default comes from.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


class NoSettings(MethodSettings):
    """A method without settings."""


def is_segformer(backbone: str) -> bool:
    """Return whether a backbone is a SegFormer, for which the SATS authors published other weights."""
    return "segformer" in backbone


class Heads(NamedTuple):
    """Classifiers of a network: outputs of each, in order, and whether they are `linear` or `conv` (3x3 first)."""

    sizes: tuple[int, ...]
    kind: str = "linear"


class Method:
    """Hooks of a method (ciss_methods.md 10). Subclass, set `name`, override what differs."""

    name: ClassVar[str] = ""
    title: ClassVar[str] = ""
    """How papers write the name."""
    recipe: ClassVar[str] = "ce"
    """Which base step (step 0) the method starts from (recipes.py); methods with the same recipe share it."""
    supervision: ClassVar[Literal["pixel", "image"]] = "pixel"
    """Pixel masks of the new classes, or image-level labels only."""
    label_rule: ClassVar[Literal["plop", "mib", "wilson"]] = "plop"
    """How raw ids become training labels (datasets.tasks.label_map)."""
    needs_teacher: ClassVar[bool] = True
    sees: ClassVar[Literal["step", "all"]] = "step"
    """Images and labels of this step alone, or of every step so far (the upper bound)."""
    all_labels: bool = False
    """Whether image-level labels name old classes too, beside the new ones."""
    calibrates_on_ids: bool = False
    """Whether the masks of `calibrate` hold the data set's class ids instead of the step's labels."""
    Settings: ClassVar[type[MethodSettings]] = NoSettings

    @classmethod
    def published(cls, dataset: str, task: str, backbone: str) -> dict[str, Any]:
        """Return the published settings for a task where they differ from the defaults (ciss_methods.md 4.13)."""
        return {}

    @classmethod
    def recipe_for(cls, settings: Any) -> str:
        """Return the base recipe under these settings."""
        return cls.recipe

    @classmethod
    def heads(cls, settings: Any, classes_per_step: Sequence[int]) -> Heads:
        """Return the classifiers for these classes; the default is one 1x1 convolution per step."""
        return Heads(tuple(classes_per_step))

    @classmethod
    def wants_saliency(cls, settings: Any, dataset: str) -> bool:
        """Return whether batches must carry saliency maps."""
        return False

    @classmethod
    def exemplar_mixing(cls, settings: Any) -> Literal["interleave", "overwrite"]:
        """Return how exemplars come into a batch: in turn with the step's images, or over half of a full batch."""
        return "interleave"

    @classmethod
    def network_options(cls, settings: Any) -> dict[str, Any]:
        """Return options that the network must be built with, beside those of `train.backbone_options`."""
        return {}

    def __init__(self, settings: Any, info: StepInfo) -> None:
        self.settings = settings
        self.info = info

    def attach(self, model: SegmentationModel) -> nn.Module | None:
        """Return extra modules that train beside the model and are thrown away after the step."""
        return None

    def init_classifier(self, model: SegmentationModel) -> None:
        """Initialise the newest classifier, freeze what must not move; the default leaves the model as it is."""

    def param_groups(self, model: SegmentationModel, extra: nn.Module | None, lr: float) -> list[dict[str, Any]]:
        """Return optimiser groups with their learning rates; the default trains everything at `lr`."""
        parameters = [*model.parameters(), *([] if extra is None else extra.parameters())]
        return [{"params": [p for p in parameters if p.requires_grad], "lr": lr}]

    def constant_epochs(self) -> int:
        """Return for how many epochs the learning rate stays constant before it decays."""
        return 0

    def warm_share(self) -> float:
        """Return over which share of the step the learning rate rises from nearly 0; 0 begins at full rate."""
        return 0.0

    def lr_floor(self) -> float:
        """Return the learning rate below which no group falls."""
        return 0.0

    def train_mode(self, model: SegmentationModel) -> None:
        """Put the model in training mode; override to freeze parts."""
        model.train()

    def calibrate(self, batches: Iterable[Batch], teacher: SegmentationModel) -> None:
        """See one pass of the training data before the first epoch (entropy thresholds)."""

    def prepare(
        self,
        model: SegmentationModel,
        teacher: SegmentationModel,
        passes: Callable[[int], Iterator[Batch]],
        lr: float,
    ) -> None:
        """Change the model before the first iteration of a step, parameters in place; a resumed step skips this.

        `passes(e)` yields e epochs of the step's training batches, `lr` is the step's rate. Every process calls it
        with its share of the batches and must leave the weights that the others leave.
        """

    def finish(
        self,
        model: SegmentationModel,
        teacher: SegmentationModel | None,
        batches: Callable[[], Iterable[Batch]],
    ) -> None:
        """Change the model, or measure it, after the last iteration and before anything is written.

        `batches()` is one pass of the step's training batches. A base step has no teacher. Every process calls it and
        must leave the weights that the others leave. `state()` is read afterwards.
        """

    def losses(self, forward: Forward) -> dict[str, Tensor]:
        """Return named, already weighted scalar terms; the default is cross-entropy on the masks."""
        return {"ce": cross_entropy(forward.student_logits(), forward.batch.masks)}

    def observe(self, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> None:
        """See the gradients of the losses, mean over processes, before the penalty's (importance statistics)."""

    def penalty(self, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> Tensor | None:
        """Return a weighted penalty on the parameters, or None."""
        return None

    @property
    def differs_by_process(self) -> bool:
        """Return whether `state()` is another one in each process of a job."""
        return False

    def state(self) -> dict[str, Tensor]:
        """Return what a resumed step and the next step need, beside weights."""
        return {}

    def load_state(self, state: Mapping[str, Tensor], resumed: bool) -> None:
        """Take back `state()`: of this very step if `resumed`, of the previous step otherwise."""

    def decode(self, logits: Tensor) -> Tensor:
        """Return the label map (B, H, W) in channel ids of logits (B, N, H, W)."""
        return logits.argmax(dim=1)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return each class's probability (B, C, H, W) for logits (B, N, H, W); asked of the base recipe."""
        return widened(logits).softmax(dim=1)
