"""A polite downloader: robots.txt, one limiter per host, retries that listen, caps on bytes and time."""

from __future__ import annotations

import asyncio
import email.utils
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import aiohttp
from aiolimiter import AsyncLimiter

from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.network import PrivateAddressError, connector, is_private_literal
from pipeline.crawl_ingest.robots import MAX_ROBOTS_BYTES, RobotsRules, opts_out

MAX_REDIRECTS = 5
MAX_WAIT = 30.0
RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
REDIRECTS = frozenset({301, 302, 303, 307, 308})


class FetchError(Exception):
    """A fetch ended without bytes; `reason` is one of reasons.REFUSED or FAILED."""

    def __init__(self, reason: str, status: int = 0, url: str = "") -> None:
        super().__init__(reason)
        self.reason, self.status, self.url = reason, status, url


@dataclass(frozen=True)
class Fetched:
    """A complete body and where it came from."""

    body: bytes
    final_url: str
    status: int


class Downloader:
    """Fetches addresses under the settings of `crawl_ingest`. Use as an async context manager."""

    def __init__(self, settings: CrawlIngest) -> None:
        self.settings = settings
        self._limiters: dict[str, AsyncLimiter] = {}
        self._robots: dict[str, asyncio.Task[RobotsRules]] = {}
        self._jitter = random.Random(0)

    async def __aenter__(self) -> Downloader:
        self._session = aiohttp.ClientSession(
            connector=connector(self.settings.connections, self.settings.connections_per_host),
            headers={"User-Agent": self.settings.user_agent},
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=True,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def fetch(self, url: str, patient: bool = False) -> Fetched:
        """Return the body of an address. Raises FetchError with the reason it was refused or failed.

        A time-out is final unless `patient`: searches are worth waiting for, one image among many is not.
        """
        for attempt in range(self.settings.retries + 1):
            try:
                async with asyncio.timeout(self.settings.timeout):
                    return await self._follow(url)
            except TimeoutError:
                if not patient or attempt == self.settings.retries:
                    raise FetchError("timeout", url=url) from None
            except _RetryError as again:
                if attempt == self.settings.retries:
                    raise FetchError("http_error" if again.status else "connection", again.status, url) from None
                await asyncio.sleep(self._pause(attempt, again.after))
        raise AssertionError("unreachable")

    def _pause(self, attempt: int, after: float | None) -> float:
        if after is not None:
            return min(after, MAX_WAIT)
        return min(0.5 * 2**attempt, MAX_WAIT) * self._jitter.uniform(0.5, 1.0)

    async def _follow(self, url: str) -> Fetched:
        for _ in range(MAX_REDIRECTS + 1):
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise FetchError("scheme", url=url)
            if is_private_literal(parts.hostname):
                raise FetchError("private_address", url=url)
            await self._permit(url)
            async with self._limiters[parts.netloc]:
                result = await self._request(url)
            if isinstance(result, Fetched):
                return result
            url = urljoin(url, result)
        raise FetchError("redirect_limit", url=url)

    async def _permit(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.netloc not in self._robots:
            task = asyncio.ensure_future(self._read_robots(f"{parts.scheme}://{parts.netloc}/robots.txt"))
            self._robots[parts.netloc] = task
        rules = await asyncio.shield(self._robots[parts.netloc])
        if parts.netloc not in self._limiters:
            pace = max(1 / self.settings.requests_per_second, rules.delay(self.settings.user_agent))
            burst = max(1.0, min(self.settings.connections_per_host, 1 / pace))
            self._limiters[parts.netloc] = AsyncLimiter(burst, burst * pace)
        if not rules.allows(url, self.settings.user_agent):
            raise FetchError("robots", url=url)

    async def _read_robots(self, url: str) -> RobotsRules:
        # RFC 9309: an unavailable file (4xx) allows, an unreachable one (5xx, network) forbids.
        try:
            async with asyncio.timeout(self.settings.timeout), self._session.get(url) as response:
                if response.status >= 500 or response.status == 429:
                    return RobotsRules(None)
                if response.status >= 400:
                    return RobotsRules("")
                body = await response.content.read(MAX_ROBOTS_BYTES)
                return RobotsRules(body.decode("utf-8", "replace"))
        except PrivateAddressError:
            return RobotsRules("")
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return RobotsRules(None)

    async def _request(self, url: str) -> Fetched | str:
        try:
            async with self._session.get(url, allow_redirects=False) as response:
                if response.status in REDIRECTS and "Location" in response.headers:
                    return response.headers["Location"]
                if response.status in RETRIED:
                    raise _RetryError(response.status, retry_after(response.headers))
                if response.status != 200:
                    raise FetchError("http_error", response.status, url)
                if opts_out(response.headers.getall("X-Robots-Tag", []), self.settings.user_agent):
                    raise FetchError("robots_header", response.status, url)
                return Fetched(await self._read(response, url), url, response.status)
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, PrivateAddressError):
                raise FetchError("private_address", url=url) from None
            raise _RetryError(0, None) from None
        except PrivateAddressError:
            raise FetchError("private_address", url=url) from None
        except (aiohttp.InvalidURL, ValueError):
            raise FetchError("scheme", url=url) from None
        except (aiohttp.ClientError, OSError):
            raise _RetryError(0, None) from None

    async def _read(self, response: aiohttp.ClientResponse, url: str) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_chunked(65536):
            body += chunk
            if len(body) > self.settings.max_bytes:
                raise FetchError("too_large", response.status, url)
        return bytes(body)


class _RetryError(Exception):
    def __init__(self, status: int, after: float | None) -> None:
        super().__init__(status)
        self.status, self.after = status, after


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds a Retry-After header asks for (a number or an HTTP date), None if it says nothing."""
    value = headers.get("Retry-After", "").strip()
    if value.isdigit():
        return float(value)
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    return max(0.0, moment.timestamp() - time.time())
