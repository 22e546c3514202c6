"""A semantic segmenter in the transformers library's folder format as a model."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from pipeline.artifacts import ArtifactError
from pipeline.predict.network import Model, Network

CONFIG = "config.json"
PROCESSOR = "preprocessor_config.json"


def open_transformers(folder: Path, class_names: Sequence[str] = ()) -> Model:
    """Return the model of a folder that `AutoModelForSemanticSegmentation` opens, on its image processor's terms.

    Nothing is downloaded, no code of the folder is run, and its weights are read without unpickling objects. Raises
    ArtifactError for a model of another task, a damaged folder, weights that do not cover the network, and an image
    processor that cuts images.
    """
    config = _read_json(folder / CONFIG)
    _check_task(folder, config)
    body = _weights(folder)
    names = tuple(class_names) or _names(folder, body.config.id2label)
    if len(names) != body.config.num_labels:
        raise ValueError(f"{folder} has {body.config.num_labels} classes, {len(names)} names were given")
    processor, notes = _processor(folder)
    options = _preparation(folder, processor) if processor is not None else {}
    network = Network(body, _logits, **options)
    architecture = type(body).__name__
    facts = {"model_type": config.get("model_type"), "transformers": config.get("transformers_version")}
    return Model(network, names, "transformers", folder, architecture, (), facts, notes)


def _logits(output: Any) -> Tensor:
    logits: Tensor = output.logits
    return logits


def _read_json(path: Path) -> dict[str, Any]:
    try:
        loaded = json.loads(path.read_text())
    except FileNotFoundError:
        raise ArtifactError(f"{path} does not exist; expected a folder written by `save_pretrained`") from None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read ({' '.join(str(error).split())}); save the model again") from None
    if not isinstance(loaded, dict):
        raise ArtifactError(f"{path} holds no settings by name; save the model again")
    return loaded


def _check_task(folder: Path, config: dict[str, Any]) -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES

    known = sorted(MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES.values())
    named = [str(name) for name in config.get("architectures") or []]
    if not any(name in known for name in named):
        got = ", ".join(named) or f"a model of type {config.get('model_type')} that names no architecture"
        raise ArtifactError(f"{folder} holds {got}, expected a semantic segmenter: {', '.join(known)}")


def _weights(folder: Path) -> Any:
    from transformers import AutoModelForSemanticSegmentation

    try:
        with _quiet():
            body, found = AutoModelForSemanticSegmentation.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, output_loading_info=True
            )
    except Exception as error:  # the library raises what each of its parts raises
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ArtifactError(f"{folder} cannot be opened as a semantic segmenter ({reason})") from None
    lacking = sorted(str(name) for name in [*found["missing_keys"], *found["mismatched_keys"]])
    if lacking:
        raise ArtifactError(
            f"{folder}: {len(lacking)} tensors of {type(body).__name__} are missing or of another shape, "
            f"first `{lacking[0]}`; the weights are another model's"
        )
    return body.float().eval()


@contextmanager
def _quiet() -> Iterator[None]:
    # The library logs missing tensors as a table and goes on; here they are an error of one line.
    from transformers.utils import logging as library

    level, bars = library.get_verbosity(), library.is_progress_bar_enabled()
    library.set_verbosity(logging.CRITICAL)
    library.disable_progress_bar()
    try:
        yield
    finally:
        library.set_verbosity(level)
        if bars:
            library.enable_progress_bar()


def _names(folder: Path, id2label: dict[int, str]) -> tuple[str, ...]:
    if sorted(id2label) != list(range(len(id2label))):
        raise ArtifactError(f"{folder / CONFIG}: id2label does not name the classes 0..{len(id2label) - 1}")
    return tuple(str(id2label[i]) for i in range(len(id2label)))


def _processor(folder: Path) -> tuple[Any, tuple[str, ...]]:
    if not (folder / PROCESSOR).is_file():
        return None, (f"no {PROCESSOR}: images keep their size and are normalised by ImageNet's mean and deviation",)
    from transformers import AutoImageProcessor

    try:
        with _quiet():
            return AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False), ()
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ArtifactError(f"{folder / PROCESSOR} cannot be opened ({reason}); save the processor again") from None


def _preparation(folder: Path, processor: Any) -> dict[str, Any]:
    """Return the arguments of Network that do what the image processor does."""
    for flag, what in (("do_center_crop", "cuts images to their centre"), ("do_flip_channel_order", "wants BGR")):
        if getattr(processor, flag, False):
            raise ArtifactError(f"{folder / PROCESSOR}: `{flag}` {what}, which is not supported; set it to false")
    options: dict[str, Any] = {"scale": processor.rescale_factor if processor.do_rescale else 1.0}
    if processor.do_normalize:
        options.update(mean=tuple(processor.image_mean), std=tuple(processor.image_std))
    else:
        options.update(mean=(0.0,) * 3, std=(1.0,) * 3)
    return {**options, "resize": _resizing(processor) if getattr(processor, "do_resize", False) else None}


def _resizing(processor: Any) -> Callable[[Tensor], Tensor]:
    def resize(images: Tensor) -> Tensor:
        made = processor(
            images=list(images.cpu()), do_rescale=False, do_normalize=False, return_tensors="pt",
            input_data_format="channels_first",
        )  # fmt: skip
        pixels: Tensor = made["pixel_values"]
        return pixels

    return resize
