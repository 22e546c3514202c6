"""Class words W^c (web_wilss.md 6.6): which classes a caption names. vocabulary.tsv may be edited."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

FILE = Path(__file__).with_name("vocabulary.tsv")


@lru_cache(maxsize=4)
def class_words(path: Path = FILE) -> dict[str, tuple[str, ...]]:
    """Return {class name: words} of a vocabulary file; the class `-` holds phrases that name nothing.

    Raises ValueError naming the line if it is not a name, a tab and words.
    """
    words = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        name, tab, rest = line.partition("\t")
        if not tab or not rest.strip():
            raise ValueError(f"{path}:{number}: expected a class name, a tab and words, got {line!r}")
        words[name] = tuple(word.strip() for word in rest.split(","))
    return words


def phrases() -> list[str]:
    """Return the entries of several words, longest first."""
    several = {word for words in class_words().values() for word in words if " " in word}
    return sorted(several, key=lambda phrase: (-len(phrase.split()), phrase))


def labels_of(caption: str, class_ids: Mapping[str, int]) -> list[int]:
    """Return the ids of the classes a caption names, ascending; the longest match wins.

    `class_ids` maps class names to ids; classes outside it (future ones) are not reported.
    """
    tokens = re.findall(r"[a-z]+(?:-[a-z]+)?", caption.lower())
    table = _matches()
    found, position = set(), 0
    while position < len(tokens):
        for length in range(min(_longest(), len(tokens) - position), 0, -1):
            name = table.get(tuple(tokens[position : position + length]))
            if name is not None:
                found.add(name)
                position += length
                break
        else:
            position += 1
    return sorted(class_ids[name] for name in found if name in class_ids)


@lru_cache(maxsize=1)
def _matches() -> dict[tuple[str, ...], str]:
    table: dict[tuple[str, ...], str] = {}
    for name, words in class_words().items():
        for word in words:
            split = tuple(word.split())
            table[split] = name
            table.setdefault((*split[:-1], _plural(split[-1])), name)
    return table


@lru_cache(maxsize=1)
def _longest() -> int:
    return max(len(key) for key in _matches())


def _plural(word: str) -> str:
    if word.endswith(("s", "x", "ch", "sh")):
        return f"{word}es"
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return f"{word[:-1]}ies"
    return f"{word}s"


def targets(name: str) -> Sequence[str]:
    """Return the words a class is compared by: its vocabulary, or its own name if it has none."""
    return class_words().get(name, (name,))
