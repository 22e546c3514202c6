"""Noun files in the format of the original repositories: one per folder of images (web_wilss.md 2.10)."""

from __future__ import annotations

from pathlib import Path

NO_NOUN = "bg"
"""What stands for "no noun" in a line, without the space that follows every noun."""


def read_noun_file(path: Path) -> list[tuple[str, list[str]]]:
    """Return (image name, nouns in order) of every line. Raises ValueError naming file and line."""
    lines = path.read_text(encoding="utf-8").split("\n")
    if not lines[-1]:
        lines.pop()
    found = []
    for number, line in enumerate(lines, 1):
        name, separator, rest = line.partition(" ")
        if not separator:
            raise ValueError(f"{path}:{number}: expected an image name, a space and nouns or `{NO_NOUN}`, got {line!r}")
        found.append((name, [] if rest == NO_NOUN else rest.split()))
    return found


def noun_file_text(nouns: list[tuple[str, list[str]]]) -> str:
    """Return the text of a noun file, which read_noun_file takes back."""
    lines = [f"{name} {''.join(f'{noun} ' for noun in words) or NO_NOUN}\n" for name, words in nouns]
    return "".join(lines)
