"""A view of a language model's folder from which no unpinned code can be loaded.

OpenFlamingo's factory trusts remote code unconditionally, so what it is shown decides what may run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.captioning.captioners.snapshot import check_local_code
from pipeline.config import Captioner as Settings

_MOSAIC = "mosaic_gpt"
_WITHOUT_EMBEDDING_METHOD = "mpt-1b-redpajama-200b"
"""The factory repairs this model's embeddings, and knows it by its path alone."""


def safe_view(folder: Path, into: Path, settings: Settings) -> Path:
    """Return a folder of links to `folder`, in `into`, without references to code unless the settings pin it.

    Raises ValueError if there is no model, or if the model has no class in transformers and its code is not trusted.
    """
    config = _read(folder / "config.json")
    kind = str(config.get("model_type", ""))
    if settings.trust_remote_code:
        _check_version(folder)
        check_local_code(folder, settings)
    elif not _is_native(kind):
        raise ValueError(
            f"language model {folder} has type {kind!r}, which needs the model's own code; read it, then set "
            "trust_remote_code, its digest as revision, and openflamingo.environment: isolated"
        )
    view = into / (_WITHOUT_EMBEDDING_METHOD if kind == _MOSAIC else "language_model")
    view.mkdir()
    for path in folder.iterdir():
        if path.is_file():
            (view / path.name).symlink_to(path.resolve())
    if not settings.trust_remote_code:
        for name in ("config.json", "tokenizer_config.json"):
            if (view / name).exists():
                (view / name).unlink()
                plain = {key: value for key, value in _read(folder / name).items() if key != "auto_map"}
                (view / name).write_text(json.dumps(plain))
    return view


def _is_native(kind: str) -> bool:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return kind in CONFIG_MAPPING_NAMES


def _check_version(folder: Path) -> None:
    import transformers

    if int(transformers.__version__.split(".")[0]) >= 5:
        raise ValueError(
            f"language model {folder} brings its own code, which transformers {transformers.__version__} no longer "
            "runs; set openflamingo.environment: isolated"
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        loaded = json.loads(path.read_text())
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; openflamingo.language_model must be a local folder") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON ({error})") from None
    assert isinstance(loaded, dict)
    return loaded
