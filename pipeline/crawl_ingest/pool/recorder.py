"""From finished downloads to recorded outcomes, as many at a time as have come in meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.checks.decoders import Decoders
from pipeline.crawl_ingest.checks.image import IntakeError
from pipeline.crawl_ingest.checks.reasons import unexpected
from pipeline.crawl_ingest.faults import MachineError
from pipeline.crawl_ingest.pool.spool import Place
from pipeline.crawl_ingest.pool.state import Outcome, PoolState

TOGETHER = 8
"""Downloads that are recorded in one transaction at most; more would leave the network idle meanwhile."""
SECONDS = 0.25
"""How long a download waits for others to be recorded with, while images are being decoded."""


@dataclass
class Download:
    """How a request ended, and the body if there is one; `recorded` once its outcome is."""

    outcome: Outcome
    body: bytes | None = None
    recorded: bool = False


class Recorder:
    """Checks images and records outcomes. Use as a context manager.

    Images are decoded in a few processes at once, and one transaction serves the downloads that have come in meanwhile,
    so the busier the crawl the less each costs. A download is in flight until `record` returns: a kill repeats no more
    than without.
    """

    def __init__(self, settings: CrawlIngest, state: PoolState) -> None:
        self._state = state
        self._decoders = Decoders(settings)
        self._decoding = 0
        self._ready: list[tuple[Download, bytes | None, asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Recorder:
        return self

    def prepare(self) -> None:
        """Say that images will come."""
        self._decoders.prepare()

    def __exit__(self, *_: object) -> None:
        self._decoders.close()

    async def record(self, download: Download) -> str:
        """Return the reason of the outcome, once it is recorded."""
        self._decoding += 1
        try:
            stored = await self._judge(download)
        finally:
            self._decoding -= 1
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._ready.append((download, stored, done))
        if len(self._ready) >= TOGETHER or not self._decoding:
            self._write()
        elif self._timer is None:
            self._timer = loop.call_later(SECONDS, self._write)
        await done
        return download.outcome.reason

    async def _judge(self, download: Download) -> bytes | None:
        """Let the download's outcome say what its body is; return the bytes to store."""
        body, outcome = download.body, download.outcome
        if body is None:
            return None
        download.body = None
        try:
            image = await self._decoders.accept(body)
        except IntakeError as error:
            download.outcome = replace(outcome, reason=error.reason, bytes=len(body))
            return None
        except MachineError:
            raise
        except Exception as error:
            download.outcome = replace(outcome, reason=unexpected(error), bytes=len(body))
            return None
        download.outcome = replace(
            outcome, image_id=image.image_id, width=image.width, height=image.height, bytes=len(image.data),
            phash=image.phash,
        )  # fmt: skip
        return image.data

    def _write(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._ready:
            batch, self._ready = self._ready[:TOGETHER], self._ready[TOGETHER:]
            try:
                places = [None if stored is None else self._state.spool(stored) for _, stored, _ in batch]
                self._finish([(download.outcome, place) for (download, _, _), place in zip(batch, places, strict=True)])
            except Exception as error:
                for _, _, done in batch:
                    if not done.done():
                        done.set_exception(error)
                continue
            for download, _, done in batch:
                download.recorded = True
                if not done.done():
                    done.set_result(None)

    def _finish(self, finished: list[tuple[Outcome, Place | None]]) -> None:
        self._state.finish_all(finished)
