"""Opens a model by its path, whoever saved it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open

from pipeline.artifacts import ArtifactError
from pipeline.predict.network import Model, shorter_side
from pipeline.predict.segmenter import Segmenter
from pipeline.predict.step_folder import WEIGHTS, open_step
from pipeline.predict.torchvision_file import open_torchvision
from pipeline.predict.transformers_folder import CONFIG, open_transformers

_EXPECTED = (
    f"expected a step folder of this pipeline ({WEIGHTS}), a transformers folder ({CONFIG}), or a weights file of a "
    "torchvision segmenter"
)


def load_segmenter(
    path: str | Path,
    *,
    class_names: Sequence[str] = (),
    method: str = "",
    device: str = "",
    resize: int = 0,
) -> Segmenter:
    """Return a callable from images to masks, probabilities and class names.

    `path` is a step folder of this pipeline or its model.safetensors, a folder that transformers'
    `AutoModelForSemanticSegmentation` saved, or a state dict of a torchvision segmenter (.pth or .safetensors).
    `class_names` are needed where the model does not know them. `method` names the method of a checkpoint of ours
    whose header does not. `device` is cuda if there is one. `resize` brings every image's shorter side to that many
    pixels first; 0 leaves it, or does what a transformers image processor asks for. No file is unpickled.
    Raises ValueError in one line if the path holds no segmenter.
    """
    return Segmenter(open_model(path, class_names=class_names, method=method, resize=resize), device)


def open_model(path: str | Path, *, class_names: Sequence[str] = (), method: str = "", resize: int = 0) -> Model:
    """Return a model on the CPU; arguments and errors as `load_segmenter`."""
    path = Path(path)
    try:
        model = _opened(path, tuple(class_names), method)
    except PermissionError:
        raise ArtifactError(f"model {path} cannot be read: no permission") from None
    if len(set(model.class_names)) < len(model.class_names):
        twice = next(name for name in model.class_names if model.class_names.count(name) > 1)
        raise ValueError(f"model {path} has two classes of the name `{twice}`; give other names with --classes FILE")
    if resize < 0 or 0 < resize < 16:
        raise ValueError(f"resize is a number of pixels from 16 on, or 0, got {resize}")
    if resize:
        model.network.resize = shorter_side(resize)
    return model


def _opened(path: Path, class_names: tuple[str, ...], method: str) -> Model:
    if not path.exists():
        raise ArtifactError(f"model {path} does not exist; {_EXPECTED}")
    if path.is_file():
        if path.suffix == ".safetensors" and _is_ours(path):
            return open_step(path, method, class_names)
        return open_torchvision(path, class_names)
    if (path / WEIGHTS).is_file() and _is_ours(path / WEIGHTS):
        return open_step(path / WEIGHTS, method, class_names)
    if (path / CONFIG).is_file():
        return open_transformers(path, class_names)
    files = sorted(file.name for file in path.iterdir())
    raise ArtifactError(f"folder {path} holds {', '.join(files[:3]) or 'nothing'}; {_EXPECTED}")


def _is_ours(path: Path) -> bool:
    try:
        with safe_open(str(path), framework="pt") as file:
            return "about" in (file.metadata() or {})
    except PermissionError:
        raise
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ArtifactError(f"model {path} is not a readable safetensors file ({reason})") from None
