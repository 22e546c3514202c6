"""Reading WordNet's noun files, and the small table derived from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

Node = tuple[int, int]
"""A synset's offset and its depth: the longest path to the root, in edges."""

_ENDINGS = (
    ("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"), ("men", "man"),
    ("ies", "y"),
)  # fmt: skip
IRREGULAR = {
    "men": "man", "women": "woman", "children": "child", "people": "people", "geese": "goose", "mice": "mouse",
    "feet": "foot", "teeth": "tooth", "oxen": "ox", "calves": "calf", "sheep": "sheep", "leaves": "leaf",
    "knives": "knife", "buses": "bus", "glasses": "glasses",
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """First noun sense of a word: itself, its transitive hypernyms, and those reached as an instance."""

    own: tuple[Node, ...]
    hypernyms: tuple[Node, ...]
    instance: tuple[Node, ...]


def base_forms(word: str) -> Iterator[str]:
    """Yield the forms under which a word may be listed, the word itself first (WordNet's noun endings)."""
    word = word.lower().replace("_", " ")
    yield word
    if word in IRREGULAR:
        yield IRREGULAR[word]
    for ending, replacement in _ENDINGS:
        if word.endswith(ending) and len(word) > len(ending) + 1:
            yield word[: -len(ending)] + replacement


def read_table(path: Path) -> dict[str, Entry]:
    """Return {word: entry} of the derived table."""
    table = {}
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            word, own, hypernyms, instance = line.split("\t")
            table[word] = Entry(_nodes(own), _nodes(hypernyms), _nodes(instance))
    return table


def write_table(words: Iterable[str], files: WordNetFiles, path: Path) -> int:
    """Write the derived table of the words that have a noun sense; return how many."""
    lines = ["# Derived from WordNet 3.0; see LICENSE-WORDNET. word, own synset, hypernyms, instance hypernyms"]
    for word in sorted(set(words)):
        entry = files.first_sense(word)
        if entry is not None:
            parts = (" ".join(f"{s}:{d}" for s, d in nodes) for nodes in (entry.own, entry.hypernyms, entry.instance))
            lines.append("\t".join([word, *parts]))
    path.write_text("\n".join(lines) + "\n")
    return len(lines) - 1


def _nodes(text: str) -> tuple[Node, ...]:
    pairs = (item.split(":") for item in text.split())
    return tuple((int(synset), int(depth)) for synset, depth in pairs)


class WordNetFiles:
    """data.noun, index.noun and noun.exc of an installed WordNet 3.0. Raises ValueError if they are absent."""

    def __init__(self, folder: Path) -> None:
        try:
            self._index = _read_index(folder / "index.noun")
            self._parents = _read_parents(folder / "data.noun")
            self._irregular = _read_exceptions(folder / "noun.exc")
        except FileNotFoundError as error:
            raise ValueError(
                f"{error.filename} does not exist; expected WordNet 3.0's noun files in {folder}"
            ) from None
        self._depth = lru_cache(maxsize=None)(self._find_depth)

    def common(self, at_least: int) -> list[str]:
        """Return single words with at least so many senses seen in WordNet's tagged text."""
        return [word for word, (_, used) in self._index.items() if used >= at_least and word.isalpha()]

    def first_sense(self, word: str) -> Entry | None:
        """Return the first noun sense of a word, or None."""
        forms = [word.lower(), *self._irregular.get(word.lower(), []), *base_forms(word)]
        form = next((f.replace(" ", "_") for f in forms if f.replace(" ", "_") in self._index), None)
        if form is None:
            return None
        synset = self._index[form][0]
        plain = self._closure(synset, instances=False)
        every = self._closure(synset, instances=True)
        return Entry(((synset, self._depth(synset)),), self._with_depth(plain), self._with_depth(every - plain))

    def _closure(self, synset: int, instances: bool) -> set[int]:
        found: set[int] = set()
        todo = [synset]
        while todo:
            for parent, is_instance in self._parents[todo.pop()]:
                if parent not in found and (instances or not is_instance):
                    found.add(parent)
                    todo.append(parent)
        return found

    def _find_depth(self, synset: int) -> int:
        parents = self._parents[synset]
        return 1 + max(self._depth(parent) for parent, _ in parents) if parents else 0

    def _with_depth(self, synsets: set[int]) -> tuple[Node, ...]:
        return tuple((synset, self._depth(synset)) for synset in sorted(synsets))


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="latin-1") as file:
        yield from (line for line in file if not line.startswith("  "))


def _read_index(path: Path) -> dict[str, tuple[int, int]]:
    index = {}
    for line in _lines(path):
        fields = line.split()
        senses, pointers = int(fields[2]), int(fields[3])
        tagged, offsets = int(fields[5 + pointers]), fields[6 + pointers :]
        assert len(offsets) == senses
        index[fields[0]] = (int(offsets[0]), tagged)
    return index


def _read_parents(path: Path) -> dict[int, list[tuple[int, bool]]]:
    parents = {}
    for line in _lines(path):
        fields = line.split(" | ")[0].split()
        words = int(fields[3], 16)
        start = 5 + 2 * words
        found = []
        for k in range(int(fields[4 + 2 * words])):
            symbol, target = fields[start + 4 * k], fields[start + 4 * k + 1]
            if symbol in ("@", "@i"):
                found.append((int(target), symbol == "@i"))
        parents[int(fields[0])] = found
    return parents


def _read_exceptions(path: Path) -> dict[str, list[str]]:
    return {fields[0]: fields[1:] for fields in (line.split() for line in _lines(path))}
