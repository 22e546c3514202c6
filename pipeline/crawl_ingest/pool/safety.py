"""The safety check: a score of what each accepted image shows, recorded, and refused above a threshold."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.artifacts.rows import SafetyColumns
from pipeline.config import Safety
from pipeline.crawl_ingest.checks.reasons import KEPT
from pipeline.crawl_ingest.pool.state import Outcome, PoolState
from pipeline.runtime.progress import Progress

UNSAFE = "unsafe"
BATCH = 16
"""Images that go through the network at a time."""


class Model(Protocol):
    """Scores RGB images from 0 (safe) to 1; `key` names it and its weights."""

    key: str

    def scores(self, images: Iterable[Image.Image]) -> NDArray[np.float32]:
        """Return float32 (N,)."""
        ...


class SafetyCheck:
    """Scores every accepted image of a pool once; a changed threshold scores nothing again."""

    def __init__(self, model: Model, threshold: float, state: PoolState) -> None:
        # As the manifest rounds it, so that its rows explain themselves.
        self.threshold = float(np.float32(threshold))
        self._model, self._state = model, state

    def score(self, urls: Iterable[str], progress: Progress) -> None:
        """Score the accepted images of addresses that have no score yet, a few in memory at a time."""
        waiting: list[str] = []
        for url in urls:
            image_id = self._unscored(url)
            if image_id and image_id not in waiting:
                waiting.append(image_id)
            if len(waiting) == BATCH:
                self._flush(waiting)
                waiting = []
            progress.update()
        self._flush(waiting)

    def _flush(self, waiting: list[str]) -> None:
        if waiting:
            # One open image at a time: sixteen of the largest would take most of a gigabyte.
            scores = self._model.scores(self._image(image_id) for image_id in waiting)
            self._state.remember_scores(self._model.key, dict(zip(waiting, map(float, scores), strict=True)))

    def judge(self, outcome: Outcome) -> SafetyColumns:
        """Return the columns SAFETY of an outcome: score and threshold, both None for one without an image."""
        if outcome.reason != KEPT:
            return {"safety_score": None, "safety_threshold": None}
        score = self._state.score(outcome.image_id, self._model.key)
        assert score is not None
        return {"safety_score": score, "safety_threshold": self.threshold}

    def refuses(self, judged: SafetyColumns) -> bool:
        """Return whether the columns are those of an unsafe image."""
        score = judged["safety_score"]
        return score is not None and score > self.threshold

    def _unscored(self, url: str) -> str | None:
        outcome = self._state.outcome(url)
        if outcome is None or outcome.reason != KEPT:
            return None
        return None if self._state.score(outcome.image_id, self._model.key) is not None else outcome.image_id

    def _image(self, image_id: str) -> Image.Image:
        with Image.open(io.BytesIO(self._state.read(image_id))) as image:
            return image.convert("RGB")


def open_safety(settings: Safety, state: PoolState) -> SafetyCheck | None:
    """Return the check that the settings ask for, None without one. Raises WeightsError if its model is missing."""
    if settings.model == "none":
        return None
    from pipeline.crawl_ingest.checks.open_nsfw import OpenNsfw

    return SafetyCheck(OpenNsfw(), settings.threshold, state)
