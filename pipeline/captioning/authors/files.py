"""The authors' own files (web_wilss.md 2.10): caption and noun files, the class-name file, filtered lists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.artifacts import write_text

NO_NOUN = "bg"
CLASS_NAMES = (
    "airplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "table", "dog", "horse",
    "motorbike", "person", "plant", "sheep", "sofa", "train", "monitor",
)  # fmt: skip
"""The authors' names of VOC's classes, in VOC's order (theirs exchanges dog and table)."""
ClassFile = Literal["shipped", "exchanged", "labels"]
"""State of the authors' class file: as shipped, with dog and table exchanged back, or complete from the labels."""
_EXCHANGED = {"dog": "table", "table": "dog"}


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (image file name, rest of the line) of a caption or noun file. Raises ValueError naming a bad line."""
    for number, line in enumerate(_text(path).splitlines(), 1):
        name, space, rest = line.partition(" ")
        if not space or not name:
            raise ValueError(f"{path}:{number}: expected '<image file name> <text>', got {line[:60]!r}")
        yield name, rest


def read_nouns(path: Path) -> list[tuple[str, list[str]]]:
    """Return (image file name, nouns) of a noun file; a line without nouns holds `bg`."""
    return [(name, [] if rest.strip() == NO_NOUN else rest.split()) for name, rest in read_lines(path)]


def write_nouns(path: Path, rows: Iterable[tuple[str, Sequence[str]]]) -> None:
    """Write a noun file: each noun followed by a space, or `bg`; a compound becomes one word with underscores."""
    lines = []
    for name, nouns in rows:
        words = "".join(f"{noun.replace(' ', '_')} " for noun in nouns)
        lines.append(f"{name} {words or NO_NOUN}\n")
    write_text(path, "".join(lines))


def write_captions(path: Path, rows: Iterable[tuple[str, str]]) -> None:
    """Write a caption file, one line per image."""
    write_text(path, "".join(f"{name} {' '.join(caption.split())}\n" for name, caption in rows))


def folder_files(folder: Path) -> list[Path]:
    """Return the .txt files of a folder in name order. Raises ValueError if there are none."""
    files = sorted(folder.glob("*.txt"))
    if not files:
        raise ValueError(f"{folder} holds no .txt file; expected one per source image, named <id>.txt")
    return files


@dataclass(frozen=True)
class ClassNames:
    """The class words of every source image, in file order."""

    rows: tuple[tuple[str, tuple[str, ...]], ...]

    @classmethod
    def read(cls, path: Path) -> ClassNames:
        """Return the rows of a `pascal_classes.txt`. Raises ValueError naming a bad line."""
        rows = []
        for number, line in enumerate(_text(path).splitlines(), 1):
            name, *words = line.split()
            unknown = sorted(set(words) - set(CLASS_NAMES))
            if unknown or not name.endswith(".png"):
                raise ValueError(f"{path}:{number}: expected '<id>.png' and class names, got {line[:60]!r}")
            rows.append((name.removesuffix(".png"), tuple(words)))
        return cls(tuple(rows))

    @classmethod
    def of(cls, labels: Mapping[str, Sequence[int]]) -> ClassNames:
        """Return the rows of class ids by image id (VOC ids)."""
        return cls(tuple((image, tuple(CLASS_NAMES[c - 1] for c in sorted(labels[image]))) for image in sorted(labels)))

    @property
    def exchanged(self) -> bool:
        """Whether the file has the released one's defect.

        Names stand in the order of the list that wrote them. VOC's table (11) comes before dog (12); a row
        that says dog first was written with a list in which the two are exchanged.
        """
        return any("dog" in words and words.index("dog") < words.index("table") for _, words in self.rows
                   if "table" in words)  # fmt: skip

    @property
    def state(self) -> ClassFile:
        """What was done to the authors' file; exchanging alone leaves the three rows empty that lack their class."""
        if self.exchanged:
            return "shipped"
        return "labels" if all(words for _, words in self.rows) else "exchanged"

    def completed(self, truth: ClassNames) -> ClassNames:
        """Return the rows with the words of the data set where it has the image, in the file's order."""
        known = dict(truth.rows)
        return ClassNames(tuple((image, known.get(image, words)) for image, words in self.rows))

    def corrected(self) -> ClassNames:
        """Return the rows with dog and table exchanged back."""
        swapped = ((image, tuple(_EXCHANGED.get(word, word) for word in words)) for image, words in self.rows)
        return ClassNames(tuple((image, tuple(sorted(words, key=CLASS_NAMES.index))) for image, words in swapped))

    def report(self, truth: ClassNames | None = None) -> list[str]:
        """Return what is wrong with the file, a line each; `truth` are the rows of the data set itself."""
        one = sum(len({"dog", "table"} & set(words)) == 1 for _, words in self.rows)
        both = sum({"dog", "table"} <= set(words) for _, words in self.rows)
        lines = [f"{len(self.rows)} rows; {one} name dog or table, {both} both"]
        if self.exchanged:
            lines.append(f"dog and table are exchanged (rows with both say dog first): {one} rows are wrong")
        elif not both:
            lines.append(
                "no row names dog and table, so that an exchange of the two cannot be seen without the data set"
            )
        if truth is not None:
            lines += _differences(self, truth)
        return lines

    def write(self, path: Path) -> None:
        """Write the rows in the file's own form."""
        write_text(path, "\r\n".join(f"{image}.png {''.join(f'{w} ' for w in words)}" for image, words in self.rows))


def _differences(names: ClassNames, truth: ClassNames) -> list[str]:
    known = dict(truth.rows)
    compared = [(image, set(words), set(known[image])) for image, words in names.rows if image in known]
    exchanged = sum({_EXCHANGED.get(w, w) for w in got} == want and got != want for _, got, want in compared)
    lines = [f"{len(compared)} rows compared with the data set: {exchanged} have dog and table exchanged"]
    for image, got, want in compared:
        repaired = {_EXCHANGED.get(word, word) for word in got} if names.exchanged else got
        if repaired != want:
            lines.append(f"{image}: lacks {sorted(want - repaired)}, has too much {sorted(repaired - want)}")
    return lines


def _text(path: Path) -> str:
    try:
        # The files end lines in both ways; read_text would hide a stray carriage return within a line.
        return path.read_bytes().decode("utf-8").replace("\r\n", "\n")
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None
