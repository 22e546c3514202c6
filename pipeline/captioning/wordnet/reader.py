"""WordNet 3.0's nouns: read from an installed WordNet, or from the compact table derived from it."""

from __future__ import annotations

import lzma
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pipeline.artifacts import atomic_path

Node = tuple[int, int]
"""A synset's number and its depth: the longest path to the root, in edges."""
Parents = Sequence[Sequence[tuple[int, bool]]]
"""Per synset its hypernyms, and whether it is an instance of them."""

_ENDINGS = (
    ("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"), ("men", "man"),
    ("ies", "y"),
)  # fmt: skip
_MAGIC = "WordNet 3.0 nouns; see LICENSE-WORDNET"


@dataclass(frozen=True)
class Entry:
    """First noun sense of a word: itself, its transitive hypernyms, and those reached as an instance."""

    own: tuple[Node, ...]
    hypernyms: tuple[Node, ...]
    instance: tuple[Node, ...]
    repeated: tuple[Node, ...]
    """`hypernyms` as NLTK 3.6.2 to 3.8.1 yields them: some that are reached on several ways more than once."""


class WordNet:
    """First noun senses and their hypernyms.

    `first` maps a lemma (spaces as underscores) to its first synset, `irregular` an inflected form to its lemmas.
    """

    def __init__(self, first: Mapping[str, int], parents: Parents, irregular: Mapping[str, Sequence[str]]) -> None:
        self.first, self.parents, self.irregular = first, parents, irregular
        self._names: dict[int, str] = {}
        self._depth = lru_cache(maxsize=None)(self._find_depth)

    @classmethod
    def installed(cls, folder: Path) -> WordNet:
        """Return the WordNet of data.noun, index.noun and noun.exc. Raises ValueError if they are absent."""
        try:
            index, data = _read_index(folder / "index.noun"), _read_parents(folder / "data.noun")
            irregular = _read_exceptions(folder / "noun.exc")
        except FileNotFoundError as error:
            raise ValueError(
                f"{error.filename} does not exist; expected WordNet 3.0's noun files in {folder} "
                "(Debian package wordnet-base)"
            ) from None
        number = {offset: k for k, offset in enumerate(sorted(data))}
        parents = [[(number[parent], instance) for parent, instance in data[offset]] for offset in number]
        return cls({word: number[offset] for word, offset in index.items()}, parents, irregular)

    @classmethod
    def table(cls, path: Path) -> WordNet:
        """Return the WordNet of a compact table. Raises ValueError if it is not one."""
        try:
            lines = lzma.decompress(path.read_bytes()).decode().split("\n")
        except (lzma.LZMAError, FileNotFoundError) as error:
            raise ValueError(f"{path} is not a WordNet table ({error})") from None
        if lines[0] != _MAGIC:
            raise ValueError(f"{path} is not a WordNet table of this version, it begins with {lines[0][:40]!r}")
        synsets, words = map(int, lines[1].split())
        parents = [_parents(line, k) for k, line in enumerate(lines[2 : 2 + synsets])]
        pairs = (line.split("\t") for line in lines[2 + synsets : 2 + synsets + words])
        irregular = (line.split(" ") for line in lines[2 + synsets + words :] if line)
        return cls({word: int(k) for word, k in pairs}, parents, {form: lemmas for form, *lemmas in irregular})

    def write(self, path: Path) -> None:
        """Write the compact table; parents as distances back, which compress well."""
        lines = [_MAGIC, f"{len(self.parents)} {len(self.first)}"]
        for k, parents in enumerate(self.parents):
            lines.append(" ".join(f"{k - parent}{'i' if instance else ''}" for parent, instance in parents))
        lines += [f"{word}\t{k}" for word, k in sorted(self.first.items())]
        lines += [" ".join([form, *lemmas]) for form, lemmas in sorted(self.irregular.items())]
        with atomic_path(path) as temporary:
            temporary.write_bytes(lzma.compress("\n".join(lines).encode(), preset=9 | lzma.PRESET_EXTREME))

    def lemma(self, word: str) -> str | None:
        """Return the lemma under which a noun is looked up, None if it is unknown.

        As the released code does it through NLTK: its lemmatizer takes the word as written and of the listed forms the
        shortest ("gas" becomes "ga"); what it does not know stays. Synsets are then looked up in lower case, of the
        listed forms the first. So "us" is the letter u and "US" the country, and a compound needs its underscore.
        """
        lemma = min(self._listed(word), key=len, default=word)
        return next(iter(self._listed(lemma.lower())), None)

    def _listed(self, form: str) -> list[str]:
        """Return a form and what it may be an inflection of, as far as WordNet lists them."""
        if form in self.irregular:
            return [f for f in (form, *self.irregular[form]) if f in self.first]
        stems = _stems([form])
        listed = [f for f in (form, *stems) if f in self.first]
        while stems and not listed:
            stems = _stems(stems)
            listed = [f for f in stems if f in self.first]
        return listed

    def first_sense(self, word: str) -> Entry | None:
        """Return the first noun sense of a word, lemmatised; None if it is unknown."""
        lemma = self.lemma(word)
        if lemma is None:
            return None
        synset = self.first[lemma]
        plain = self._closure(synset, instances=False)
        every = self._closure(synset, instances=True)
        return Entry(
            ((synset, self._depth(synset)),),
            self._with_depth(sorted(plain)),
            self._with_depth(sorted(every - plain)),
            self._with_depth(self._repeated(synset)),
        )

    def _repeated(self, synset: int) -> list[int]:
        # Breadth first; a synset that waits twice before its turn comes twice. Parents go by name as in NLTK, for which
        # the first of the words whose first sense a synset is stands in: the table holds no names.
        seen: set[int] = set()
        found: list[int] = []
        todo = deque([synset])
        while todo:
            found.append(todo.popleft())
            seen.add(found[-1])
            above = [parent for parent, is_instance in self.parents[found[-1]] if not is_instance]
            todo.extend(parent for parent in sorted(above, key=self._name) if parent not in seen)
        return found[1:]

    def _name(self, synset: int) -> str:
        if not self._names:
            for word, first in self.first.items():
                self._names[first] = min(word, self._names.get(first, word))
        return self._names.get(synset, "")

    def _closure(self, synset: int, instances: bool) -> set[int]:
        found: set[int] = set()
        todo = [synset]
        while todo:
            for parent, is_instance in self.parents[todo.pop()]:
                if parent not in found and (instances or not is_instance):
                    found.add(parent)
                    todo.append(parent)
        return found

    def _find_depth(self, synset: int) -> int:
        return 1 + max((self._depth(parent) for parent, _ in self.parents[synset]), default=-1)

    def _with_depth(self, synsets: Sequence[int]) -> tuple[Node, ...]:
        return tuple((synset, self._depth(synset)) for synset in synsets)


def _stems(forms: Sequence[str]) -> list[str]:
    return [form[: -len(ending)] + stem for form in forms for ending, stem in _ENDINGS if form.endswith(ending)]


def _parents(line: str, k: int) -> list[tuple[int, bool]]:
    return [(k - int(item.removesuffix("i")), item.endswith("i")) for item in line.split()]


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="latin-1") as file:
        yield from (line for line in file if not line.startswith("  "))


def _read_index(path: Path) -> dict[str, int]:
    index = {}
    for line in _lines(path):
        fields = line.split()
        index[fields[0]] = int(fields[6 + int(fields[3])])
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
