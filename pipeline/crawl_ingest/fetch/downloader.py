"""A polite downloader: robots.txt, one pace per host, retries that listen, caps on bytes and time."""

from __future__ import annotations

import asyncio
import email.utils
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import aiohttp
from yarl import URL

from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.checks.reasons import unexpected
from pipeline.crawl_ingest.fetch.addresses import parse, shown
from pipeline.crawl_ingest.fetch.crew import away
from pipeline.crawl_ingest.fetch.host import MAX_WAIT, FetchError, Host
from pipeline.crawl_ingest.fetch.network import PrivateAddressError, connector, is_private_literal
from pipeline.crawl_ingest.fetch.robots import MAX_ROBOTS_BYTES, RobotsRules, decode_robots, opts_out

MAX_REDIRECTS = 5
RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
REDIRECTS = frozenset({301, 302, 303, 307, 308})
API_BYTES = 20_000_000
"""Cap of an API's answer."""
RULES_HOLD, SILENCE_HOLDS = 24 * 3600.0, 600.0
"""Seconds after which robots.txt is read again: a day (RFC 9309 2.4); sooner, if it could not be read."""

_Origin = tuple[str, str | None, int | None]


@dataclass(frozen=True)
class Fetched:
    """A complete body and where it came from."""

    body: bytes
    final_url: str
    status: int
    retry_after: float | None = None


class Downloader:
    """Fetches addresses under the settings of `crawl_ingest`. Use as an async context manager."""

    def __init__(self, settings: CrawlIngest) -> None:
        self.settings = settings
        self._hosts: dict[_Origin, tuple[asyncio.Task[Host], float]] = {}
        self._apis: dict[_Origin, Host] = {}
        self._jitter = random.Random(0)

    async def __aenter__(self) -> Downloader:
        self._session = aiohttp.ClientSession(
            connector=connector(self.settings.connections, self.settings.connections_per_host),
            headers={"User-Agent": self.settings.user_agent},
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            trust_env=False,
            auto_decompress=True,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def fetch(self, url: str, api: bool = False) -> Fetched:
        """Return the body of an address. Raises FetchError with the reason it was refused or failed.

        `api` marks a request to a documented API, which its own terms govern: robots.txt and X-Robots-Tag speak to
        crawlers that follow links and are not asked (Wikimedia's disallows `/w/`, where its API lies). A time-out
        is final for an image, one among many, and not for a search.
        """
        for attempt in range(self.settings.retries + 1):
            last = attempt == self.settings.retries
            try:
                return await self._follow(url, api)
            except TimeoutError:
                if last or not api:
                    raise FetchError("timeout", url=shown(url)) from None
            except _RetryError as again:
                if last or (again.after or 0) > MAX_WAIT:
                    raise FetchError("http_error" if again.status else "connection", again.status, shown(url)) from None
                async with away():
                    await asyncio.sleep(self._pause(attempt, again.after))
        raise AssertionError("unreachable")

    def _pause(self, attempt: int, after: float | None) -> float:
        if after is not None:
            return after
        return min(0.5 * 2**attempt, MAX_WAIT) * self._jitter.uniform(0.5, 1.0)

    async def _follow(self, address: str, api: bool) -> Fetched:
        url, left = parse(address), self.settings.timeout
        for _ in range(MAX_REDIRECTS + 1):
            try:
                host = await self._host(url, api)
                # Waiting for our turn is our own wish and no fault of the host: only requests use up its time.
                async with host.turn():
                    began = time.monotonic()
                    result = await self._request(url, host, left, api)
                    left -= time.monotonic() - began
            except FetchError as error:
                raise FetchError(error.reason, error.status, str(url)) from None
            if isinstance(result, Fetched):
                return result
            url = result
        raise FetchError("redirect_limit", url=str(url))

    async def _host(self, url: URL, api: bool) -> Host:
        if is_private_literal(url.host or ""):
            raise FetchError("private_address")
        origin = (url.scheme, url.raw_host, url.port)
        if api:
            self._apis[origin] = self._apis.get(origin) or Host(url.host or "", RobotsRules(""), self.settings)
            return self._apis[origin]
        host = await self._known(url, origin)
        if not host.rules.allows(str(url), self.settings.user_agent):
            raise FetchError("robots")
        return host

    async def _known(self, url: URL, origin: _Origin) -> Host:
        meeting, until = self._hosts.get(origin, (None, 0.0))
        if meeting is None or (meeting.done() and time.monotonic() > until):
            # The task inherits this one's place in the crew and may give it up: this one waits for it meanwhile.
            meeting = asyncio.ensure_future(self._meet(url.origin()))
            self._hosts[origin] = meeting, time.monotonic() + RULES_HOLD
            try:
                return await asyncio.shield(meeting)
            except FetchError:
                self._hosts[origin] = meeting, time.monotonic() + SILENCE_HOLDS
                raise
        if not meeting.done():
            async with away():
                # Its error is this address's too.
                await asyncio.wait([meeting])
        return meeting.result()

    async def _meet(self, origin: URL) -> Host:
        # RFC 9309: a missing robots.txt (4xx) allows, one that cannot be read (5xx, network) forbids.
        for attempt in range(self.settings.retries + 1):
            try:
                async with asyncio.timeout(self.settings.timeout):
                    body = await self._robots(origin)
                # Beside the event loop: half a megabyte of rules takes its time.
                rules = await asyncio.to_thread(_rules, body, self.settings.user_agent) if body else RobotsRules("")
                return Host(origin.host or "", rules, self.settings)
            except TimeoutError:
                break
            except _RetryError as again:
                if attempt < self.settings.retries and (again.after or 0) <= MAX_WAIT:
                    async with away():
                        await asyncio.sleep(self._pause(attempt, again.after))
                elif again.unreachable:
                    raise FetchError("connection") from None
        raise FetchError("robots_unreachable")

    async def _robots(self, origin: URL) -> bytes:
        """Return the first bytes of a robots.txt, none if there is none. RFC 9309 2.3.1.2 allows five redirects."""
        url = origin / "robots.txt"
        for hop in range(MAX_REDIRECTS + 1):
            result: bytes | str | None = None
            try:
                result = await self._robots_at(url)
                if isinstance(result, bytes):
                    return result
                url = parse(result, url)
            except FetchError:
                # The host itself cannot be asked; or, behind a redirect, its rules cannot.
                if hop == 0 and result is None:
                    raise
                break
            except _RetryError as again:
                # Only the host itself can be the one that is not there.
                raise _RetryError(again.status, again.after, again.unreachable and hop == 0) from None
        raise FetchError("robots_unreachable")

    async def _robots_at(self, url: URL) -> bytes | str:
        if is_private_literal(url.host or ""):
            raise FetchError("private_address")
        body = bytearray()
        with _translated(url):
            async with self._session.get(url, allow_redirects=False) as response:
                if response.status in REDIRECTS and "Location" in response.headers:
                    return str(response.headers["Location"])
                if response.status == 429 or response.status >= 500:
                    raise _RetryError(response.status, retry_after(response.headers))
                if response.status >= 400:
                    return b""
                async for chunk in response.content.iter_chunked(65536):
                    body += chunk
                    if len(body) > MAX_ROBOTS_BYTES:
                        break
        return bytes(body)

    async def _request(self, url: URL, host: Host, seconds: float, api: bool) -> Fetched | URL:
        with _translated(url):
            async with asyncio.timeout(seconds), self._session.get(url, allow_redirects=False) as response:
                moved = response.status in REDIRECTS and "Location" in response.headers
                if response.status in RETRIED:
                    after = retry_after(response.headers)
                    host.pause(after or 0)
                    raise _RetryError(response.status, after)
                if response.status != 200 and not moved:
                    raise FetchError("http_error", response.status)
                if not api and opts_out(response.headers.getall("X-Robots-Tag", []), self.settings.user_agent):
                    raise FetchError("robots_header", response.status)
                if moved:
                    return parse(response.headers["Location"], url)
                body = await self._read(response, API_BYTES if api else self.settings.max_bytes)
                return Fetched(body, str(url), response.status, retry_after(response.headers))

    async def _read(self, response: aiohttp.ClientResponse, cap: int) -> bytes:
        body = bytearray()
        if (response.content_length or 0) > cap:
            raise FetchError("too_large", response.status)
        async for chunk in response.content.iter_chunked(65536):
            body += chunk
            if len(body) > cap:
                raise FetchError("too_large", response.status)
        return bytes(body)


class _RetryError(Exception):
    def __init__(self, status: int, after: float | None, unreachable: bool = False) -> None:
        super().__init__(status)
        self.status, self.after, self.unreachable = status, after, unreachable


def _rules(body: bytes, user_agent: str) -> RobotsRules:
    text = decode_robots(body[:MAX_ROBOTS_BYTES], whole=len(body) <= MAX_ROBOTS_BYTES)
    return RobotsRules(text, user_agent)


@contextmanager
def _translated(url: URL) -> Iterator[None]:
    try:
        yield
    except (TimeoutError, FetchError, _RetryError):
        raise
    except aiohttp.ClientConnectorError as error:
        elsewhere = error.host != url.host
        if isinstance(error.os_error, PrivateAddressError) and not elsewhere:
            raise FetchError("private_address") from None
        raise _RetryError(0, None, unreachable=not elsewhere) from None
    except (aiohttp.InvalidURL, ValueError):
        raise FetchError("scheme") from None
    except (aiohttp.ClientError, OSError):
        raise _RetryError(0, None) from None
    except Exception as error:
        # Libraries that read what strangers send raise almost anything, and one address must not end a crawl.
        raise FetchError(unexpected(error)) from None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds a Retry-After header asks for (a number or an HTTP date), None if it says nothing."""
    value = headers.get("Retry-After", "").strip()
    if not value:
        return None
    if value.isdecimal():
        return float(value)
    try:
        moment = email.utils.parsedate_to_datetime(value).timestamp()
    except Exception:
        # The parser of dates fails in many ways, and a header that says nothing asks for nothing.
        return None
    return max(0.0, moment - time.time())
