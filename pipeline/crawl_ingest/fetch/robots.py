"""Permission to fetch: robots.txt per host (RFC 9309), and the X-Robots-Tag header."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable

from protego import Protego

OPT_OUT = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none"})
KNOWN = OPT_OUT | {
    "all", "index", "follow", "nofollow", "noarchive", "nocache", "nosnippet", "notranslate", "noodp", "noydir",
    "indexifembedded", "max-snippet", "max-image-preview", "max-video-preview", "unavailable_after",
}  # fmt: skip
"""Directives. What stands before a colon names an agent only if one of these follows."""
MAX_ROBOTS_BYTES = 500 * 1024
"""What RFC 9309 2.5 asks a crawler to read at least."""
PATIENCE = 10_000_000
"""Characters that the wildcard rules of a host may be compared with for one address: some ten milliseconds. A host
whose rules need more for an address forbids it."""
_AGENT = re.compile(r"user[ \t-]?agent(?:[ \t]*:|[ \t])(.*)", re.IGNORECASE)
_RULE = re.compile(r"((?:allow|dis?s?al?low|diasllow|disallaw|crawl[ -]delay)(?:[ \t]*:|[ \t]))(.*)", re.IGNORECASE)
_NAME = re.compile(r"[\w./*-]+")
_DIRECTIVE = re.compile(r"[a-z_-]+")
_LINE = re.compile(r"\r\n|\r|\n")
_BREAKS = {ord(sign): "".join(f"%{byte:02X}" for byte in sign.encode()) for sign in "\v\f\x1c\x1d\x1e\x85\u2028\u2029"}
"""Signs that Python's splitlines takes for ends of lines, and RFC 9309 does not."""
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip


class RobotsRules:
    """Rules of one host, asked with the whole user agent: the product name before the slash is what counts.

    With `user_agent` the rules for it are taken out at once and the rest is let go.
    """

    def __init__(self, text: str, user_agent: str = "") -> None:
        self._text = text
        self._groups: dict[str, _Group] = {}
        if user_agent:
            self._group(user_agent)
            self._text = ""

    def allows(self, url: str, user_agent: str) -> bool:
        """Return whether the address may be fetched."""
        return self._group(user_agent).allows(url)

    def delay(self, user_agent: str) -> float:
        """Return the Crawl-delay in seconds, 0 if there is none."""
        return self._group(user_agent).delay

    def _group(self, user_agent: str) -> _Group:
        product = _product(user_agent).lower()
        if product not in self._groups:
            self._groups[product] = _Group(_rules_for(self._text, product))
        return self._groups[product]


class _Group:
    """The rules that bind us. Only they reach the parser: its time and memory grow with agents times rules."""

    def __init__(self, rules: list[str]) -> None:
        self._rules = Protego.parse("\n".join(["User-agent: *", *rules]))
        wild = [rule for rule in rules if "*" in rule or "$" in rule]
        self._wild, self._parts = len(wild), sum(rule.count("*") for rule in wild)
        self.delay = float(self._rules.crawl_delay("any") or 0)

    def allows(self, url: str) -> bool:
        if self._wild * len(url) + 100 * self._parts > PATIENCE:
            return False
        return bool(self._rules.can_fetch(url, "any"))


def _rules_for(text: str, product: str) -> list[str]:
    """Return the rules of the groups that name the product, else those for everyone (RFC 9309 2.2.1)."""
    ours: dict[str, None] = {}
    everyone: dict[str, None] = {}
    targets: list[dict[str, None]] = []
    named, ended = False, True
    for raw in _LINE.split(text):
        line = raw.partition("#")[0].strip(" \t\ufeff\0")
        if agent := _AGENT.fullmatch(line):
            if ended:
                targets, ended = [], False
            name = agent[1].strip().lower()
            group = everyone if name == "*" else ours if _named(name) == product else None
            named = named or group is ours
            # Named a thousand times, a group still takes each rule once.
            if group is not None and all(group is not target for target in targets):
                targets.append(group)
        elif rule := _RULE.fullmatch(line):
            # Lines that are no rules (Sitemap, unknown ones) end no list of agents.
            ended = True
            for target in targets:
                # A rule that stands twice is one rule.
                target[rule[1] + rule[2].strip().translate(_BREAKS)] = None
    return list(ours if named else everyone)


def _named(name: str) -> str:
    words = name.replace("*", "").split("/")[0].split()
    return words[0] if words else ""


def decode_robots(body: bytes, whole: bool = True) -> str:
    """Return the text of a robots.txt in UTF-8, UTF-16 or UTF-32, with or without a mark at its beginning.

    Of a body that was cut (not `whole`) the last line is left out: half a rule is another rule.
    """
    encoding = next((name for mark, name in _MARKS if body.startswith(mark)), "")
    if not encoding:
        # ASCII signs in sixteen bits: every other byte is zero.
        encoding = "utf-16-le" if body[1:2] == b"\0" else "utf-16-be" if body[:1] == b"\0" else "utf-8"
    text = body.decode(encoding, "replace")
    if not whole:
        text = text[: max(text.rfind("\n"), text.rfind("\r")) + 1]
    return text


def opts_out(values: Iterable[str], user_agent: str) -> bool:
    """Return whether X-Robots-Tag values forbid use by us.

    `noai` speaks to everyone, `otherbot: noai` to otherbot alone. Directives may be separated by commas, semicolons or
    blanks and stand in quotes.
    """
    return any(_forbids(value.lower(), _product(user_agent).lower()) for value in values)


def _forbids(value: str, product: str) -> bool:
    spoken_to = True
    for part in re.split("[,;]", value):
        head, colon, rest = part.partition(":")
        names, directives = _NAME.findall(head), _DIRECTIVE.findall(rest)
        if colon and len(names) == 1 and names[0] not in KNOWN and directives and directives[0] in KNOWN:
            spoken_to = names[0].split("/")[0] in (product, "*")
        else:
            directives = _DIRECTIVE.findall(part)
        if spoken_to and OPT_OUT.intersection(directives):
            return True
    return False


def _product(user_agent: str) -> str:
    # Words of the comment, such as "research", must not match a group of robots.txt.
    return user_agent.split("/")[0].strip()
