"""Class words W^c (web_wilss.md 6.6): which classes a caption names. vocabulary.tsv may be edited, or another named.

Its class `-` holds phrases that name nothing of ours, such as "table tennis".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

FILE = Path(__file__).with_name("vocabulary.tsv")


class Vocabulary:
    """The words of every class, and the longest-match reading of captions."""

    def __init__(self, words: Mapping[str, Sequence[str]]) -> None:
        self.words = {name: tuple(entries) for name, entries in words.items()}
        self._entries: dict[str, list[tuple[list[str], str]]] = {}
        matches: dict[tuple[str, ...], str] = {}
        for name, entries in self.words.items():
            for entry in entries:
                split = tuple(entry.split())
                matches[split] = name
                matches.setdefault((*split[:-1], plural(split[-1])), name)
        for key in sorted(matches, key=len, reverse=True):
            self._entries.setdefault(key[0], []).append((list(key), matches[key]))

    @classmethod
    def load(cls, path: str = "") -> Vocabulary:
        """Return the vocabulary of a file; the shipped one for an empty path."""
        return _load(Path(path) if path else FILE)

    def phrases(self) -> dict[str, str]:
        """Return entries of several words by their spellings (singular and regular plural), longest first."""
        several = sorted({entry for entries in self.words.values() for entry in entries if re.search(r"[ -]", entry)})
        spelled = {entry: entry for entry in several} | {plural(entry): entry for entry in several}
        return dict(sorted(spelled.items(), key=lambda item: (-len(item[0]), item[0])))

    def labels_of(self, caption: str, class_ids: Mapping[str, int]) -> list[int]:
        """Return the ids of the classes a caption names, ascending; the longest match wins.

        `class_ids` maps class names to ids; classes outside it (future ones) are not reported.
        """
        tokens = _TOKEN.findall(caption.lower())
        found: set[str] = set()
        end = 0
        for start in [i for i, token in enumerate(tokens) if token in self._entries]:
            if start < end:
                continue
            for key, name in self._entries[tokens[start]]:
                if tokens[start : start + len(key)] == key:
                    found.add(name)
                    end = start + len(key)
                    break
        return sorted(class_ids[name] for name in found if name in class_ids)

    def targets(self, name: str) -> tuple[str, ...]:
        """Return the words a class is compared by: its entries, or its own name if it has none."""
        return self.words.get(name, (name,))


def plural(word: str) -> str:
    """Return the regular plural of a word or phrase."""
    if word.endswith(("s", "x", "ch", "sh")):
        return f"{word}es"
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return f"{word[:-1]}ies"
    return f"{word}s"


@lru_cache(maxsize=4)
def _load(path: Path) -> Vocabulary:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise ValueError(f"vocabulary {path} does not exist; see {FILE} for the format") from None
    words: dict[str, list[str]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, tab, rest = line.partition("\t")
        entries = [" ".join(word.lower().split()) for word in rest.split(",") if word.strip()]
        if not tab or not entries:
            raise ValueError(f"{path}:{number}: expected a class name, a tab and words, got {line!r}")
        if name in words:
            raise ValueError(f"{path}:{number}: class {name} appears twice; put its words on one line")
        words[name] = entries
    return Vocabulary(words)


_TOKEN = re.compile(r"[a-z]+(?:-[a-z]+)?")
