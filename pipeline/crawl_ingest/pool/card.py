"""The card of a pool (what was asked, taken, refused and why) and the attribution of every image kept."""

from __future__ import annotations

import csv
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pipeline.artifacts import MANIFEST, atomic_path, image_address, read_rows, write_text
from pipeline.artifacts.rows import ManifestRow
from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.checks.licence import UNKNOWN, deed
from pipeline.crawl_ingest.checks.reasons import DUPLICATE, FAILED, REFUSED, kind_of
from pipeline.crawl_ingest.faults import in_one_line

ATTRIBUTION = ("image_id", "file", "title", "creator", "licence", "licence_url", "page_url", "url", "source")
_SHAPELESS = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp", "Zs"})
_MEANINGS = {**REFUSED, **FAILED, **DUPLICATE}
_FORMULA = frozenset("=+-@|%\u2212")
"""First signs that make a cell a formula to one program or another; full-width ones are turned into these first."""
MAX_NAME = 100
"""Characters of a licence's or a source's name in the card."""
MAX_NAMES = 50
"""Licences and sources that the card lists; the rest is one line."""


@in_one_line
def write_card(manifests: Sequence[Path], settings: CrawlIngest, out: Path) -> None:
    """Write `out` (Markdown) and attribution.csv beside it, from the manifests of a pool's plans."""
    facts = _Facts()
    with (
        atomic_path(out.with_name("attribution.csv")) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as stream,
    ):
        # Quoted throughout: a program that takes semicolons for separators sees no cells inside a cell.
        writer = csv.writer(stream, quoting=csv.QUOTE_ALL)
        writer.writerow(ATTRIBUTION)
        for manifest in manifests:
            for row in read_rows(manifest, MANIFEST):
                facts.count(manifest.stem, row)
                if row["status"] == "kept":
                    writer.writerow([_harmless(value) for value in _attribution(row)])
    write_text(out, _text(facts, settings))


class _Facts:
    def __init__(self) -> None:
        self.plans: dict[str, Counter[str]] = {}
        self.reasons: Counter[str] = Counter()
        self.sources: Counter[str] = Counter()
        self.licences: Counter[str] = Counter()
        self.first = self.last = ""
        self.scored, self.thresholds = 0, set[float]()

    def count(self, plan: str, row: ManifestRow) -> None:
        self.plans.setdefault(plan, Counter())[row["status"]] += 1
        self.reasons[row["reason"]] += bool(row["reason"])
        if when := row["fetched_at"]:
            self.first, self.last = min(self.first or when, when), max(self.last, when)
        threshold = row.get("safety_threshold")
        if threshold is not None:
            self.scored += 1
            self.thresholds.add(round(threshold, 4))
        if row["status"] == "kept":
            self.sources[row["source"] or UNKNOWN] += 1
            self.licences[row["licence"] or UNKNOWN] += 1


def _attribution(row: ManifestRow) -> list[str]:
    file = image_address(f"{row['shard']}.tar", row["image_id"])
    rest = (row["licence"], deed(row["licence"]), row["page_url"], row["url"], row["source"])
    return [row["image_id"], file, row["title"], row["creator"], *rest]


def _harmless(value: str) -> str:
    """Return a cell that no spreadsheet runs, on one line: titles come from strangers."""
    plain = _one_line(value)
    first = unicodedata.normalize("NFKC", plain[:1])[:1]
    return f"'{plain}" if first in _FORMULA else plain


def _one_line(value: str) -> str:
    # Signs without a shape (controls, marks of direction, zero widths, lone surrogates) hide what comes first.
    return " ".join("".join(" " if unicodedata.category(c) in _SHAPELESS else c for c in value).split())


def _escaped(name: str) -> str:
    """Return a stranger's text as Markdown shows it letter by letter: no HTML, link, image or cell of a table."""
    plain = _one_line(name)
    shown = plain if len(plain) <= MAX_NAME else f"{plain[:MAX_NAME]} ..."
    text = "".join(c if c.isalnum() or c in " .+-'" or ord(c) > 127 else f"&#{ord(c)};" for c in shown)
    # The names of addresses become links without any sign around them.
    return text.replace("www.", "www&#46;").replace("WWW.", "WWW&#46;") or UNKNOWN


def _text(facts: _Facts, settings: CrawlIngest) -> str:
    tried = sum(count.total() for count in facts.plans.values())
    kept = sum(count["kept"] for count in facts.plans.values())
    where = {"url_list": settings.path, "folder": settings.path, "authors": settings.path}
    lines = [
        f"# Web data of the pool `{settings.pool}`",
        "",
        f"{kept:,} images kept of {tried:,} candidates ({_percent(kept, tried)}). "
        f"Fetched from {facts.first or 'never'} to {facts.last or 'never'} (UTC).",
        "",
        f"- Source: `{settings.source}` ({where.get(settings.source) or settings.api or 'the real service'})",
        f"- Licences allowed: {', '.join(settings.licences) or 'all'}",
        f"- User agent: `{settings.user_agent}`; at most {settings.requests_per_second:g} requests a second and "
        f"{settings.connections_per_host} connections per host; robots.txt, Crawl-delay, Retry-After and X-Robots-Tag "
        "obeyed",
        f"- Stored: RGB JPEG without metadata, shorter side at least {settings.min_side} pixels; a row per candidate, "
        "kept or not, in `manifests/`",
        f"- Safety: {_safety(facts, settings)}",
        "- Who made each image, and its licence: `attribution.csv`",
        "",
        *_table(("plan", "candidates", "kept", "refused", "failed", "duplicate"), _plans(facts)),
        *_table(("not kept because", "candidates", "meaning"), _reasons(facts)),
        *_table(("licence of the kept", "images", "share"), _shares(facts.licences, kept)),
        *_table(("found through", "images", "share"), _shares(facts.sources, kept)),
    ]
    return "\n".join(lines) + "\n"


def _safety(facts: _Facts, settings: CrawlIngest) -> str:
    if not facts.scored:
        return "what the images show was not scored"
    limits = " or ".join(f"{threshold:g}" for threshold in sorted(facts.thresholds))
    return (
        f"{facts.scored:,} candidates scored by `{settings.safety.model}`, {facts.reasons['unsafe']:,} above {limits} "
        "refused; score and threshold are in their rows"
    )


def _plans(facts: _Facts) -> Iterable[Sequence[Any]]:
    for plan, count in facts.plans.items():
        yield plan, count.total(), count["kept"], count["refused"], count["failed"], count["duplicate"]


def _reasons(facts: _Facts) -> Iterable[Sequence[Any]]:
    for reason, count in sorted(facts.reasons.items(), key=lambda item: (-item[1], item[0])):
        if reason:
            yield f"`{reason}`", count, _MEANINGS[kind_of(reason)]


def _shares(counts: Counter[str], total: int) -> Iterable[Sequence[Any]]:
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    for name, count in ranked[:MAX_NAMES]:
        yield _escaped(name), count, _percent(count, total)
    if rest := ranked[MAX_NAMES:]:
        count = sum(number for _, number in rest)
        yield f"{len(rest):,} others", count, _percent(count, total)


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    lines = [" | ".join(header), " | ".join(["---"] * len(header))]
    lines += [" | ".join(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row) for row in rows]
    return [*(f"| {line} |" for line in lines), ""]


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "none"
