"""From finished downloads to recorded outcomes, as many at a time as have come in meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.checks.image import IntakeError, accept
from pipeline.crawl_ingest.pool.spool import Place
from pipeline.crawl_ingest.pool.state import Outcome, PoolState

TOGETHER = 8
"""Downloads that are checked and recorded together at most; more would leave the network idle meanwhile."""


@dataclass
class Download:
    """How a request ended, and the body if there is one; `recorded` once its outcome is."""

    outcome: Outcome
    body: bytes | None = None
    recorded: bool = False


class Recorder:
    """Checks images and records outcomes. Use as a context manager.

    One hand-over to the decoder's thread and one transaction serve all downloads that wait, so the busier the crawl
    the less each costs. A download is in flight until `record` returns: a kill repeats no more than without.
    """

    def __init__(self, settings: CrawlIngest, state: PoolState) -> None:
        self._settings, self._state = settings, state
        self._waiting: list[Download] = []
        self._turn = asyncio.Lock()

    def __enter__(self) -> Recorder:
        # Decoding beside the event loop: large images must not make the others' answers look late.
        self._decoder = ThreadPoolExecutor(1)
        return self

    def __exit__(self, *_: object) -> None:
        self._decoder.shutdown()

    async def record(self, download: Download) -> str:
        """Return the reason of the outcome, once it is recorded."""
        self._waiting.append(download)
        async with self._turn:
            # Turns come in the order of arrival: whoever is not recorded yet is the first of those that wait.
            if not download.recorded:
                await self._record_first()
        return download.outcome.reason

    async def _record_first(self) -> None:
        batch, self._waiting = self._waiting[:TOGETHER], self._waiting[TOGETHER:]
        finished = await asyncio.get_running_loop().run_in_executor(self._decoder, self._take_all, batch)
        self._state.finish_all(finished)
        for download, (outcome, _) in zip(batch, finished, strict=True):
            download.outcome, download.body, download.recorded = outcome, None, True

    def _take_all(self, batch: Sequence[Download]) -> list[tuple[Outcome, Place | None]]:
        return [self._take(download.outcome, download.body) for download in batch]

    def _take(self, outcome: Outcome, body: bytes | None) -> tuple[Outcome, Place | None]:
        if body is None:
            return outcome, None
        try:
            image = accept(body, self._settings)
        except IntakeError as error:
            return replace(outcome, reason=error.reason, bytes=len(body)), None
        kept = replace(
            outcome, image_id=image.image_id, width=image.width, height=image.height, bytes=len(image.data),
            phash=image.phash,
        )  # fmt: skip
        return kept, self._state.spool(image.data)
