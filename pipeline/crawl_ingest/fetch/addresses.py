"""Addresses that strangers wrote: parsed by what makes the request, and refused for whatever the parser raises."""

from __future__ import annotations

import re
import string
from urllib.parse import quote

from yarl import URL

from pipeline.crawl_ingest.fetch.host import FetchError

MAX_ADDRESS = 32_768
"""Characters. RFC 9110 asks for 8,000 octets at least; every rule of robots.txt is compared with all of them."""
_HOST = re.compile(r"[\w.:-]+")


def parse(address: str, base: URL | None = None) -> URL:
    """Return the address, taken relative to `base`. Raises FetchError for one that cannot be asked for.

    The parser is the one that makes the request, so that a check and the connection see the same host.
    """
    if len(address) > MAX_ADDRESS:
        raise FetchError("long_address", url=shown(address))
    try:
        if not address.isascii() and base is not None:
            address = quote(address.encode("utf-8", "surrogateescape"), safe=string.printable)
        url = URL(address) if base is None else base.join(URL(address))
        # Everything that is read later is read here: yarl decodes a host when it is first asked for it.
        host, plain, port, whole = url.raw_host or "", url.host or "", url.port, str(url)
    except Exception:
        # Parsers raise almost anything: ValueError, IndexError, UnicodeError.
        raise FetchError("scheme", url=shown(address)) from None
    if len(whole) > MAX_ADDRESS:
        raise FetchError("long_address", url=shown(whole))
    plausible = _HOST.fullmatch(host) and plain and port and url.user is None and url.password is None
    if url.scheme not in ("http", "https") or not plausible:
        raise FetchError("scheme", url=shown(whole))
    return url


def shown(address: str) -> str:
    """Return an address as a table can store it."""
    return address[:MAX_ADDRESS].encode("utf-8", "replace").decode()
