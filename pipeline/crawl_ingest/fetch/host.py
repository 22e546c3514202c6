"""Manners toward one host: its robots.txt, its pace, its connections, and the pauses it asks for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.fetch.crew import away
from pipeline.crawl_ingest.fetch.rate_limit import Pace
from pipeline.crawl_ingest.fetch.robots import RobotsRules

MAX_WAIT = 30.0
"""Seconds we wait at most because a host asks for it; whoever asks for more is left alone."""


class FetchError(Exception):
    """A fetch ended without bytes; `reason` is one of reasons.REFUSED or FAILED."""

    def __init__(self, reason: str, status: int = 0, url: str = "") -> None:
        super().__init__(reason)
        self.reason, self.status, self.url = reason, status, url


class Host:
    """What a host allows and how fast it is asked. Raises FetchError if its Crawl-delay exceeds MAX_WAIT."""

    def __init__(self, name: str, rules: RobotsRules, settings: CrawlIngest) -> None:
        delay = rules.delay(settings.user_agent)
        if delay > MAX_WAIT:
            raise FetchError("crawl_delay")
        self.rules = rules
        self._not_before = 0.0
        gap, slots = 1 / settings.requests_per_second, settings.connections_per_host
        # Our own rate may come in small bursts; a Crawl-delay is a gap between any two requests.
        burst = 1.0 if delay > gap else max(1.0, min(slots, 1 / gap))
        self._pace = Pace(name, max(gap, delay), burst, slots)

    def pause(self, seconds: float) -> None:
        """Let no request begin for so long; a pause that is short enough to wait for binds other crawls too."""
        self._not_before = max(self._not_before, asyncio.get_running_loop().time() + seconds)
        if 0 < seconds <= MAX_WAIT:
            self._pace.rest(seconds)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a free connection, the pace and a pause; raise FetchError if the pause is too long to wait."""
        async with self._pace.connection():
            if self._not_before - asyncio.get_running_loop().time() > MAX_WAIT:
                raise FetchError("told_to_wait")
            await self._pace.turn()
            while (wait := self._not_before - asyncio.get_running_loop().time()) > 0:
                if wait > MAX_WAIT:
                    raise FetchError("told_to_wait")
                async with away():
                    await asyncio.sleep(wait)
            yield
