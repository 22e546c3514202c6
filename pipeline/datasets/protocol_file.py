"""The protocol of a step as a record, and its file protocol/step<k>.json."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from pipeline.artifacts import ArtifactError, write_json

_STRICT = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """An image of a data set: id, paths relative to the working directory, and the foreground classes its mask shows.

    `labels` are class ids of the data set, ascending, whether they belong to the step or not.
    """

    __pydantic_config__ = _STRICT

    id: str
    image: str
    mask: str
    labels: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Protocol:
    """What a step of a task is: its classes and its images. Class ids are those of the data set's masks, 0 background.

    `classes_per_step` holds every step of the task and begins with 0; `order` is the class id of every channel after
    this step; `class_names` names every foreground class. `train` has the step's images, `val` the whole validation
    split, `other_val` further evaluation sets by name.
    """

    __pydantic_config__ = _STRICT

    dataset: str
    task: str
    setting: str
    step: int
    classes_per_step: tuple[tuple[int, ...], ...]
    order: tuple[int, ...]
    class_names: dict[int, str]
    train: tuple[ImageRecord, ...]
    val: tuple[ImageRecord, ...]
    other_val: dict[str, tuple[ImageRecord, ...]] = field(default_factory=dict)

    @property
    def n_classes(self) -> int:
        """Highest class id of the data set."""
        return max(self.class_names)

    @property
    def new_classes(self) -> tuple[int, ...]:
        """Class ids that this step adds; at step 0 background is among them."""
        return self.classes_per_step[self.step]

    @property
    def step_sizes(self) -> tuple[int, ...]:
        """Number of classes of every step up to this one, background counted at step 0."""
        return tuple(len(classes) for classes in self.classes_per_step[: self.step + 1])

    @property
    def channel_names(self) -> list[str]:
        """Class name of every channel after this step; channel 0 is `background`."""
        return [self.class_names[c] if c else "background" for c in self.order]

    @property
    def evaluation(self) -> tuple[ImageRecord, ...]:
        """Every image that the protocol evaluates on: `val` and the further sets, each file once."""
        every = [*self.val, *(image for images in self.other_val.values() for image in images)]
        return tuple({image.image: image for image in every}.values())

    def identity(self) -> dict[str, str | int]:
        """Return what a checkpoint of this step must agree with: data set, task, setting and step."""
        return {"dataset": self.dataset, "task": self.task, "setting": self.setting, "step": self.step}


def read_protocol(path: str | Path) -> Protocol:
    """Return the protocol of a file. Raises ArtifactError, one line, if it is absent, damaged or no protocol."""
    try:
        protocol = _adapter().validate_json(Path(path).read_bytes())
    except FileNotFoundError:
        raise ArtifactError(f"{path} does not exist; run the stage that writes it") from None
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read ({error.strerror or error}); check the path") from None
    except ValidationError as error:
        raise _foreign(path, _first(error)) from None
    if problem := _problem(protocol):
        raise _foreign(path, problem)
    return protocol


def save_protocol(path: str | Path, protocol: Protocol) -> None:
    """Write the protocol's file atomically; `other_val` is left out if the data set has none."""
    content: dict[str, Any] = {f.name: getattr(protocol, f.name) for f in fields(protocol)}
    # JSON sorts the keys of an object as texts only if they are texts.
    content["class_names"] = {str(class_id): name for class_id, name in protocol.class_names.items()}
    content["train"], content["val"] = _json(protocol.train), _json(protocol.val)
    content["other_val"] = {name: _json(images) for name, images in protocol.other_val.items()}
    if not protocol.other_val:
        del content["other_val"]
    write_json(path, content)


def _json(images: tuple[ImageRecord, ...]) -> list[dict[str, Any]]:
    return [{"id": row.id, "image": row.image, "mask": row.mask, "labels": row.labels} for row in images]


@cache
def _adapter() -> TypeAdapter[Protocol]:
    return TypeAdapter(Protocol)


def _first(error: ValidationError) -> str:
    found, *others = error.errors(include_url=False, include_input=False)
    where = ".".join(map(str, found["loc"]))
    more = f", and {len(others)} more" if others else ""
    return f"{where}: {found['msg']}{more}" if where else f"{found['msg']}{more}"


def _problem(protocol: Protocol) -> str:
    steps, step = protocol.classes_per_step, protocol.step
    if not 0 <= step < len(steps):
        return f"step is {step}, classes_per_step has steps 0..{len(steps) - 1}"
    expected = [class_id for classes in steps[: step + 1] for class_id in classes]
    if list(protocol.order) != expected:
        return f"order is {list(protocol.order)}, classes_per_step says {expected}"
    unnamed = sorted({c for classes in steps for c in classes if c} - set(protocol.class_names))
    if unnamed or not protocol.class_names:
        return f"class_names lacks the classes {unnamed}" if unnamed else "class_names is empty"
    return ""


def _foreign(path: str | Path, problem: str) -> ArtifactError:
    said = " ".join(problem.split())
    return ArtifactError(f"{path} is no protocol of a step ({said}); delete it and rerun `protocol`, which writes it")
