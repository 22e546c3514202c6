"""The card of a pool (what was asked, taken, refused and why) and the attribution of every image kept."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pipeline.artifacts import MANIFEST, atomic_path, image_address, read_rows, write_text
from pipeline.artifacts.rows import ManifestRow
from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.checks.licence import UNKNOWN, deed
from pipeline.crawl_ingest.checks.reasons import DUPLICATE, FAILED, REFUSED

ATTRIBUTION = ("image_id", "file", "title", "creator", "licence", "licence_url", "page_url", "url", "source")
_MEANINGS = {**REFUSED, **FAILED, **DUPLICATE}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_card(manifests: Sequence[Path], settings: CrawlIngest, out: Path) -> None:
    """Write `out` (Markdown) and attribution.csv beside it, from the manifests of a pool's plans."""
    facts = _Facts()
    with (
        atomic_path(out.with_name("attribution.csv")) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv.writer(stream)
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
    # Titles come from strangers, and a spreadsheet runs what begins like a formula.
    return f"'{value}" if value.startswith(_FORMULA) else value


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
            yield f"`{reason}`", count, _MEANINGS[reason]


def _shares(counts: Counter[str], total: int) -> Iterable[Sequence[Any]]:
    for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        yield name.replace("|", "\\|"), count, _percent(count, total)


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    lines = [" | ".join(header), " | ".join(["---"] * len(header))]
    lines += [" | ".join(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row) for row in rows]
    return [*(f"| {line} |" for line in lines), ""]


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "none"
