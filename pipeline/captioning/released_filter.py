"""The noun filter as the original repository runs it on its noun files (web_wilss.md 6.4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Line = tuple[str, list[str]]


def released_picks(
    lines: Sequence[Line],
    class_words: Sequence[str],
    score: Callable[[str, str], float],
    threshold: float = 0.6,
    picks: int = 2,
) -> list[str]:
    """Return the names of the first `picks` images whose first noun scores above `threshold` for any class word.

    Later nouns are never looked at, and a NaN score (a word without a WordNet vector) rejects. `class_words` are the
    names of the source image's classes, not the nouns of its caption: the paper's rule is in noun_filter.
    """
    accepted = (
        name for name, nouns in lines if nouns and any(score(nouns[0], word) > threshold for word in class_words)
    )
    return [name for _, name in zip(range(picks), accepted, strict=False)]
