"""Where connections may go: host overrides for the mini web, and a guard against private addresses."""

from __future__ import annotations

import fnmatch
import ipaddress
import os
import socket
from functools import lru_cache
from typing import Any

from aiohttp import TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver

from pipeline.crawl_ingest.fetch.special_addresses import (
    V4_IN_INTERFACE,
    V4_REFUSED,
    V6_ALLOWED,
    V6_CARRIES_V4,
    V6_REFUSED,
)

ENVIRONMENT = "PIPELINE_RESOLVE"
SITE = "PIPELINE_SITE"


class PrivateAddressError(OSError):
    """A connection to an address that is not global was refused."""


def parse_overrides(text: str) -> dict[str, tuple[str, int]]:
    """Return {host pattern: (address, port)} of `*.miniweb.test=127.0.0.1:8080,...`. Raises ValueError."""
    overrides = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        pattern, _, target = part.partition("=")
        address, _, port = target.rpartition(":")
        if not pattern or not address or not port.isdigit():
            raise ValueError(f"{ENVIRONMENT} holds {part!r}, expected PATTERN=ADDRESS:PORT")
        overrides[pattern] = (address, int(port))
    return overrides


class OverridingResolver(AbstractResolver):
    """Maps host patterns to a fixed address and port; every other name goes to the normal resolver."""

    def __init__(self, overrides: dict[str, tuple[str, int]]) -> None:
        self._overrides = overrides
        self._normal = DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a host; the port of an override replaces the URL's."""
        for pattern, (address, mapped) in self._overrides.items():
            if fnmatch.fnmatch(host, pattern):
                return [ResolveResult(hostname=host, host=address, port=mapped, family=family, proto=0, flags=0)]
        found = await self._normal.resolve(host, port, family)
        # Checked here too: a name such as localhost must not reach the target of an override.
        reachable = [address for address in found if is_global(address["host"])]
        if not reachable:
            raise PrivateAddressError(f"{host} resolves to no global address")
        return reachable

    async def close(self) -> None:
        """Close the normal resolver."""
        await self._normal.close()


def connector(limit: int, per_host: int) -> TCPConnector:
    """Return a connector that connects to global addresses and to the overrides' targets alone.

    The check is made on the address a socket is opened for, so that neither an IP literal, a redirect nor
    a name that resolves to a private address passes.
    """
    overrides = parse_overrides(os.environ.get(ENVIRONMENT, ""))
    allowed = set(overrides.values())

    def make_socket(info: Any) -> socket.socket:
        family, kind, protocol, _, address = info
        if (address[0], address[1]) not in allowed and not is_global(address[0]):
            raise PrivateAddressError(f"{address[0]} is not a global address")
        return socket.socket(family, kind, protocol)

    return TCPConnector(
        limit=limit,
        limit_per_host=per_host,
        resolver=OverridingResolver(overrides),
        socket_factory=make_socket,
        ttl_dns_cache=300,
    )


@lru_cache(4096)
def is_private_literal(host: str) -> bool:
    """Return whether a host is written as an IP address that is not global."""
    try:
        return not is_global(host)
    except ValueError:
        return False


def is_global(address: str) -> bool:
    """Return whether an IP address is one host on the public internet; IPv4 inside IPv6 is judged as IPv4.

    Raises ValueError if it is no IP address.
    """
    ip = ipaddress.ip_address(address.split("%")[0])
    if isinstance(ip, ipaddress.IPv4Address):
        return not any(ip in network for network in V4_REFUSED)
    last = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    if any(ip in network for network in V6_CARRIES_V4):
        return is_global(str(last))
    if int(ip) >> 32 & 0xFFFFFFFF in V4_IN_INTERFACE and not is_global(str(last)):
        return False
    return ip in V6_ALLOWED and not any(ip in network for network in V6_REFUSED)
