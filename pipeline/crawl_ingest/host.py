"""Manners toward one host: its robots.txt, its pace, its connections, and the pauses it asks for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiolimiter import AsyncLimiter

from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.robots import RobotsRules

MAX_WAIT = 30.0
"""Seconds we wait at most because a host asks for it; whoever asks for more is left alone."""


class FetchError(Exception):
    """A fetch ended without bytes; `reason` is one of reasons.REFUSED or FAILED."""

    def __init__(self, reason: str, status: int = 0, url: str = "") -> None:
        super().__init__(reason)
        self.reason, self.status, self.url = reason, status, url


class Host:
    """What a host allows and how fast it is asked. Raises FetchError if its Crawl-delay exceeds MAX_WAIT."""

    def __init__(self, rules: RobotsRules, settings: CrawlIngest) -> None:
        delay = rules.delay(settings.user_agent)
        if delay > MAX_WAIT:
            raise FetchError("crawl_delay")
        self.rules = rules
        self._slots = asyncio.Semaphore(settings.connections_per_host)
        self._not_before = 0.0
        pace = 1 / settings.requests_per_second
        # Our own rate may come in small bursts; a Crawl-delay is a gap between any two requests.
        burst = max(1.0, min(settings.connections_per_host, 1 / pace))
        self._limiter = AsyncLimiter(1, delay) if delay > pace else AsyncLimiter(burst, burst * pace)

    def pause(self, seconds: float) -> None:
        """Let no request begin for so long."""
        self._not_before = max(self._not_before, asyncio.get_running_loop().time() + seconds)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a free connection, the pace and a pause; raise FetchError if the pause is too long to wait."""
        async with self._slots:
            await self._limiter.acquire()
            while (wait := self._not_before - asyncio.get_running_loop().time()) > 0:
                if wait > MAX_WAIT:
                    raise FetchError("told_to_wait")
                await asyncio.sleep(wait)
            yield
