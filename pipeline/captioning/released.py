"""The released filters, exactly, on noun folders in the authors' format (web_wilss.md 6.4 and 6.5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pipeline.artifacts import atomic_dir, write_text
from pipeline.captioning.authors import ClassNames, folder_files
from pipeline.captioning.wordnet import WordNetSimilarity
from pipeline.progress import Progress

THRESHOLD = 0.6
PICKS = 2
CLASS_PICKS = 500


@dataclass(frozen=True)
class Outcome:
    """How many files got how many images."""

    accepted: Counter[int]

    @property
    def images(self) -> int:
        """All accepted images."""
        return sum(number * files for number, files in self.accepted.items())

    def lines(self) -> list[str]:
        """Return the counts, a line each, most images first."""
        rows = [f"{files} files get {number} images" for number, files in sorted(self.accepted.items(), reverse=True)]
        return [*rows, f"{sum(self.accepted.values())} files, {self.images} images"]


def filter_replay_folder(nouns: Path, classes: ClassNames, out: Path, picks: int = PICKS) -> Outcome:
    """Write `<id>.txt` of accepted image names for every noun file: first noun against the class words, two picks.

    The k-th file belongs to the k-th row of the class names. Raises ValueError if their ids differ.
    """
    files = folder_files(nouns)
    if [file.stem for file in files] != [image for image, _ in classes.rows]:
        stems = {file.stem for file in files}
        odd = sorted(stems ^ {image for image, _ in classes.rows})
        raise ValueError(
            f"{nouns} has {len(files)} files and the class file {len(classes.rows)} rows, which must name the same "
            f"images in the same order; the first difference is {odd[0] if odd else 'the order'}"
        )
    words = [row for _, row in classes.rows]
    return _filter(files, words, 1, picks, out)


def filter_class_folder(nouns: Path, out: Path, picks: int = CLASS_PICKS) -> Outcome:
    """Write the accepted names of every class's noun file: first two nouns against the file's name, 500 picks."""
    files = folder_files(nouns)
    return _filter(files, [(file.stem,) for file in files], 2, picks, out)


def _filter(files: Sequence[Path], targets: Sequence[Sequence[str]], depth: int, picks: int, out: Path) -> Outcome:
    counts: Counter[int] = Counter()
    progress = Progress("filter", len(files), "files")
    with atomic_dir(out) as folder:
        for file, words in zip(files, targets, strict=True):
            names = _accepted(file, words, depth, picks)
            write_text(folder / file.name, "".join(f"{name}\n" for name in names))
            counts[len(names)] += 1
            progress.update()
    return Outcome(counts)


def _accepted(file: Path, words: Sequence[str], depth: int, picks: int) -> list[str]:
    names: list[str] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if len(names) == picks:
            break
        # The last field is empty after a trailing space, and `bg` where it is not: never a noun.
        fields = line.split(" ")
        candidates = fields[1 : min(len(fields) - 1, depth + 1)]
        if any(score(noun, word) > THRESHOLD for noun in candidates for word in words):
            names.append(fields[0])
    return names


@lru_cache(maxsize=200_000)
def score(noun: str, word: str) -> float:
    """Return the released WordNet score; NaN, which no threshold admits, for unknown words."""
    return WordNetSimilarity(identity=False).score(noun, word)
