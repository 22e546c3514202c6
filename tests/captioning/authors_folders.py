"""Folders in the authors' format, with the released rule's outcome computed beside the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np

SOURCES = {
    "2007_000032": ("airplane", ["jetliner top grass field ", "row blue stripe ", "plane sky sunset ", "couch "]),
    "2007_000033": ("table", ["dog grass ", "table plate ", "puppy bed "]),
    "2007_000039": ("monitor", ["bg", "clock wall "]),
    "2007_000042": ("train", ["bus street "]),
    "2007_000061": ("person dog", ["man ", "woman ", "dog "]),
    "2007_000063": ("dog table", ["xyzzy "]),
    "2007_000068": ("bird", []),
}
"""Per source: class words as the authors' exchanged file has them, and the noun lines of images 00001.jpg and so on."""
ACCEPTED = {
    "2007_000032": ["00001.jpg", "00003.jpg"],
    "2007_000033": ["00002.jpg"],
    "2007_000039": ["00002.jpg"],
    "2007_000042": ["00001.jpg"],
    "2007_000061": ["00003.jpg"],
    "2007_000063": [],
    "2007_000068": [],
}
"""By the scores of web_wilss.md 6.3: jetliner/airplane .77, plane/airplane 1, dog/table .19, clock/monitor .99."""


def write_folder(folder: Path) -> tuple[Path, Path]:
    """Write the noun folder and the class file; return both."""
    nouns = folder / "web_data_cap_file_NN"
    nouns.mkdir(parents=True)
    rows = []
    for source, (classes, lines) in SOURCES.items():
        text = "".join(f"{i:05d}.jpg {line}\n" for i, line in enumerate(lines, 1))
        (nouns / f"{source}.txt").write_text(text)
        rows.append(f"{source}.png {''.join(f'{name} ' for name in classes.split())}")
    (folder / "pascal_classes.txt").write_bytes("\r\n".join(rows).encode())
    return nouns, folder / "pascal_classes.txt"


def write_large(folder: Path, files: int, words: list[str], seed: int = 0) -> tuple[Path, Path]:
    """Write a random folder of the released one's shape: mean 17.5 lines a file, 1 to 5 nouns a line."""
    from pipeline.captioning.authors.files import CLASS_NAMES

    rng = np.random.default_rng(seed)
    nouns = folder / "NN"
    nouns.mkdir(parents=True)
    rows = []
    for i in range(files):
        lines = []
        for k in range(int(rng.choice([0, 10, 20], p=[0.003, 0.25, 0.747]))):
            found = rng.choice(words, size=rng.choice([0, 1, 2, 3, 4], p=[0.01, 0.24, 0.46, 0.22, 0.07]))
            lines.append(f"{k + 1:05d}.jpg {''.join(f'{word} ' for word in found) or 'bg'}\n")
        (nouns / f"{i:06d}.txt").write_text("".join(lines))
        rows.append(f"{i:06d}.png {' '.join(rng.choice(CLASS_NAMES, size=rng.integers(1, 4), replace=False))} ")
    (folder / "pascal_classes.txt").write_bytes("\r\n".join(rows).encode())
    return nouns, folder / "pascal_classes.txt"
