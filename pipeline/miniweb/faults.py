"""What goes wrong on the open web, by name; the server acts it out, the crawler must survive it."""

from __future__ import annotations

FAULTS: tuple[str, ...] = (
    "404",
    "403",
    "429_once",
    "503_once",
    "truncated",
    "html",
    "redirect",
    "robots",
    "robots_header",
    "zero_bytes",
    "wrong_type",
)
"""Faults that may occur any number of times."""

LISTED_ONCE: tuple[str, ...] = (
    "endless",
    "slow",
    "oversized",
    "bomb",
    "redirect_loop",
    "reset",
    "robots_broken",
    "icon",
    "svg",
    "410",
    *FAULTS,
)
"""Every fault, each planted at least once; the slow and the heavy ones only once."""
