"""Permission to fetch: robots.txt per host, and the X-Robots-Tag header."""

from __future__ import annotations

from collections.abc import Iterable

from protego import Protego

OPT_OUT = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none"})
MAX_ROBOTS_BYTES = 512_000


class RobotsRules:
    """Rules of one host. `text` None means they could not be read: everything is refused."""

    def __init__(self, text: str | None) -> None:
        self._rules = None if text is None else Protego.parse(text)

    def allows(self, url: str, user_agent: str) -> bool:
        """Return whether the address may be fetched."""
        return self._rules is not None and bool(self._rules.can_fetch(url, user_agent))

    def delay(self, user_agent: str) -> float:
        """Return the Crawl-delay in seconds, 0 if there is none."""
        delay = None if self._rules is None else self._rules.crawl_delay(user_agent)
        return float(delay) if delay else 0.0


def opts_out(values: Iterable[str], user_agent: str) -> bool:
    """Return whether X-Robots-Tag values forbid use by us.

    `noai` speaks to everyone, `otherbot: noai` to otherbot alone.
    """
    ours = user_agent.split("/")[0].lower()
    for value in values:
        agent, colon, rest = value.partition(":")
        directives = value
        if colon and agent.strip().lower() not in OPT_OUT and "," not in agent:
            if agent.strip().lower() not in (ours, "*"):
                continue
            directives = rest
        if any(part.strip().lower() in OPT_OUT for part in directives.split(",")):
            return True
    return False
