"""The released filters, exactly, on noun folders in the authors' format (web_wilss.md 6.4 and 6.5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.artifacts import atomic_dir, write_text
from pipeline.captioning.authors.files import ClassFile, ClassNames, folder_files
from pipeline.captioning.wordnet import WordNetSimilarity
from pipeline.captioning.wordnet.score import Closure
from pipeline.runtime.progress import Progress

THRESHOLD = 0.6
PICKS = 2
CLASS_PICKS = 500
AUTHORS_LINES = 184_968
"""Lines of the authors' noun folder, by which it is known."""
AUTHORS_COUNTS: dict[ClassFile, dict[int, int]] = {
    "shipped": {2: 9_265, 1: 697, 0: 620},
    "exchanged": {2: 9_740, 1: 526, 0: 316},
    "labels": {2: 9_742, 1: 526, 0: 314},
}
"""Files by accepted images that their folder gives with each state of the class file (web_wilss.md 6.4)."""
AUTHORS_REPEATED: dict[ClassFile, int] = {"shipped": 19_553, "exchanged": 20_299, "labels": 20_303}
"""Images that it gives where hypernyms are repeated as by NLTK 3.6.2 to 3.8.1."""


_WAYS: dict[ClassFile, str] = {
    "shipped": "with the class file as shipped",
    "exchanged": "with dog and table exchanged back, four rows lacking a class",
    "labels": "with classes from the labels",
}


@dataclass(frozen=True)
class Rule:
    """How many nouns of a line are looked at, how many lines are accepted of a file, and NLTK's closure."""

    nouns: int
    picks: int
    closure: Closure = "once"


@dataclass(frozen=True)
class Outcome:
    """How many files got how many images, out of how many lines, and what the authors' folder must give."""

    accepted: Counter[int]
    lines: int
    expected: Mapping[int, int] = field(default_factory=dict)
    """Files by accepted images; empty if only `expected_images` is known, or nothing."""
    expected_images: int = 0
    way: str = ""
    """State of the class file and closure, which the expectation belongs to."""

    @property
    def images(self) -> int:
        """All accepted images."""
        return _images(self.accepted)

    def report(self) -> list[str]:
        """Return the counts, a line each, most images first; with those expected beside them where there are any."""
        numbers = sorted(self.accepted.keys() | self.expected.keys(), reverse=True)
        rows = [f"{self.accepted[n]} files get {n} images{self._beside(self.expected.get(n, 0))}" for n in numbers]
        files, total = sum(self.accepted.values()), self.expected_images or _images(self.expected)
        rows.append(
            f"{files} files of {self.lines} lines, {self.images} images{f' (authors: {total})' if total else ''}"
        )
        if total:
            same = self.images == total
            if self.expected:
                same = {n: count for n, count in self.accepted.items() if count} == dict(self.expected)
            rows.append(f"{'the' if same else 'NOT the'} counts of the authors' folder {self.way}".rstrip())
        return rows

    def _beside(self, expected: int) -> str:
        return f" (authors: {expected})" if self.expected else ""


def _images(accepted: Mapping[int, int]) -> int:
    return sum(number * files for number, files in accepted.items())


def filter_replay_folder(
    nouns: Path, classes: ClassNames, out: Path, picks: int = PICKS, closure: Closure = "once"
) -> Outcome:
    """Write `<id>.txt` of accepted image names for every noun file: first noun against the class words, two picks.

    `closure` as in WordNetSimilarity. The k-th file belongs to the k-th row of the class names. Raises ValueError if
    their ids differ.
    """
    files = folder_files(nouns)
    if [file.stem for file in files] != [image for image, _ in classes.rows]:
        stems = {file.stem for file in files}
        odd = sorted(stems ^ {image for image, _ in classes.rows})
        raise ValueError(
            f"{nouns} has {len(files)} files and the class file {len(classes.rows)} rows, which must name the same "
            f"images in the same order; the first difference is {odd[0] if odd else 'the order'}"
        )
    outcome = _filter(files, [words for _, words in classes.rows], Rule(1, picks, closure), out)
    if outcome.lines != AUTHORS_LINES or picks != PICKS:
        return outcome
    state = classes.state
    if closure == "repeated":
        return replace(outcome, expected_images=AUTHORS_REPEATED[state], way=f"{_WAYS[state]}, hypernyms repeated")
    return replace(outcome, expected=AUTHORS_COUNTS[state], way=_WAYS[state])


def filter_class_folder(nouns: Path, out: Path, picks: int = CLASS_PICKS, closure: Closure = "once") -> Outcome:
    """Write the accepted names of every class's noun file: first two nouns against the file's name, 500 picks."""
    files = folder_files(nouns)
    return _filter(files, [(file.stem,) for file in files], Rule(2, picks, closure), out)


def _filter(files: Sequence[Path], targets: Sequence[Sequence[str]], rule: Rule, out: Path) -> Outcome:
    counts: Counter[int] = Counter()
    total = 0
    progress = Progress("filter", len(files), "files")
    with atomic_dir(out) as folder:
        for file, words in zip(files, targets, strict=True):
            lines = file.read_text(encoding="utf-8").splitlines()
            names = _accepted(lines, words, rule)
            write_text(folder / file.name, "".join(f"{name}\n" for name in names))
            counts[len(names)] += 1
            total += len(lines)
            progress.update()
    return Outcome(counts, total)


def _accepted(lines: Sequence[str], words: Sequence[str], rule: Rule) -> list[str]:
    score = WordNetSimilarity(identity=False, closure=rule.closure).score
    names: list[str] = []
    for line in lines:
        if len(names) == rule.picks:
            break
        # The last field is empty after a trailing space, and `bg` where it is not: never a noun.
        fields = line.split(" ")
        candidates = fields[1 : min(len(fields) - 1, rule.nouns + 1)]
        if any(score(noun, word) > THRESHOLD for noun in candidates for word in words):
            names.append(fields[0])
    return names
