"""The mini web's search engine: token overlap weighted by rarity, with the noise of real ranking."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

EXCESS = 0.05
"""Weight of words that were not asked for. At 0.05 relevant results come roughly first; far above
it, short misleading titles would beat honest captions and make the unfiltered baseline unfairly bad."""

_STOP = frozenset(
    [
        "a",
        "an",
        "the",
        "of",
        "in",
        "on",
        "at",
        "to",
        "and",
        "with",
        "next",
        "near",
        "by",
        "is",
        "are",
        "under",
        "front",
        "plain",
        "wall",
        "clear",
    ]
)
_SAME = {
    "airplane": "aeroplane", "plane": "aeroplane", "jet": "aeroplane", "bike": "bicycle", "sailboat": "boat",
    "kitten": "cat", "puppy": "dog", "motorcycle": "motorbike", "man": "person", "woman": "person",
    "houseplant": "pottedplant", "couch": "sofa", "tv": "tvmonitor", "television": "tvmonitor",
    "monitor": "tvmonitor", "table": "diningtable", "plant": "pottedplant",
}  # fmt: skip


def tokens(text: str) -> list[str]:
    """Return the words of a text, stop words left out, synonyms folded together."""
    words = re.findall(r"[a-z]+", text.lower())
    return [_SAME.get(word, word) for word in words if word not in _STOP]


class SearchEngine:
    """Ranks entries (mappings with title, tags, rank) against a query."""

    def __init__(self, entries: Sequence[dict[str, Any]]) -> None:
        self.entries = entries
        self._documents = [Counter(tokens(f"{e['title']} {' '.join(e['tags'])}")) for e in entries]
        seen = Counter(word for document in self._documents for word in document)
        self._weight = {word: math.log(1 + len(entries) / count) for word, count in seen.items()}

    def search(self, query: str) -> list[dict[str, Any]]:
        """Return matching entries, best first; ties and near ties follow the entry's own noisy rank."""
        wanted = Counter(tokens(query))
        scored = []
        for entry, document in zip(self.entries, self._documents, strict=True):
            score = sum(self._weight[word] for word in wanted if word in document)
            if score > 0:
                excess = EXCESS * sum(self._weight[word] for word in document if word not in wanted)
                scored.append((-(score - excess) + 0.8 * entry["rank"], entry["url"], entry))
        return [entry for _, _, entry in sorted(scored, key=lambda item: item[:2])]
