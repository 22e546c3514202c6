"""Permission to fetch: robots.txt per host, and the X-Robots-Tag header."""

from __future__ import annotations

from collections.abc import Iterable

from protego import Protego

OPT_OUT = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none"})
VALUED = frozenset({"max-snippet", "max-image-preview", "max-video-preview", "unavailable_after"})
"""Directives that carry a value after a colon and are no agent's name."""
MAX_ROBOTS_BYTES = 512_000


class RobotsRules:
    """Rules of one host, asked with the whole user agent: the product name before the slash is what counts."""

    def __init__(self, text: str) -> None:
        self._rules = Protego.parse(text)

    def allows(self, url: str, user_agent: str) -> bool:
        """Return whether the address may be fetched."""
        return bool(self._rules.can_fetch(url, _product(user_agent)))

    def delay(self, user_agent: str) -> float:
        """Return the Crawl-delay in seconds, 0 if there is none."""
        return float(self._rules.crawl_delay(_product(user_agent)) or 0)


def opts_out(values: Iterable[str], user_agent: str) -> bool:
    """Return whether X-Robots-Tag values forbid use by us.

    `noai` speaks to everyone, `otherbot: noai` to otherbot alone.
    """
    ours = _product(user_agent).lower()
    for value in values:
        agent, colon, rest = value.partition(":")
        name = agent.strip().lower()
        directives = value
        if colon and name not in OPT_OUT | VALUED and "," not in name:
            if name not in (ours, "*"):
                continue
            directives = rest
        if any(part.strip().lower() in OPT_OUT for part in directives.split(",")):
            return True
    return False


def _product(user_agent: str) -> str:
    # Words of the comment, such as "research", must not match a group of robots.txt.
    return user_agent.split("/")[0].strip()
