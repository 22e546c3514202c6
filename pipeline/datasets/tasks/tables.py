"""The tasks of the literature as data (web_wilss.md 2.2, 2.3; ciss_methods.md 2.4, 2.5)."""

from __future__ import annotations

Steps = list[list[int]]


def _range(first: int, last: int) -> list[int]:
    return list(range(first, last + 1))


def _groups(base: int, size: int, last: int) -> Steps:
    """Classes 0..base, then groups of `size` up to `last`."""
    return [_range(0, base), *(_range(c, min(c + size - 1, last)) for c in range(base + 1, last + 1, size))]


def _shuffled(line: str) -> Steps:
    base, later = line.split("|")
    return [[0, *map(int, base.split())], *([int(c)] for c in later.split())]


_ORDERS = {
    "b": "12 9 20 7 15 8 14 16 5 19 4 1 13 2 11 | 17 3 6 18 10",
    "c": "13 19 15 17 9 8 5 20 4 3 10 11 18 16 7 | 12 14 6 1 2",
    "d": "15 3 2 12 14 18 20 16 11 1 19 8 10 7 17 | 6 5 13 9 4",
    "e": "7 5 3 9 13 12 14 19 10 2 1 4 16 8 17 | 15 18 6 11 20",
    "f": "7 13 5 11 9 2 15 12 14 3 20 1 16 4 18 | 8 6 10 19 17",
    "g": "7 5 9 1 15 18 14 3 20 10 4 19 11 17 16 | 12 8 6 2 13",
    "h": "12 9 19 6 4 10 5 18 14 15 16 3 8 7 11 | 13 2 20 17 1",
    "i": "13 10 15 8 7 19 4 3 16 12 14 11 5 20 6 | 2 18 9 17 1",
    "j": "1 14 9 5 2 15 8 20 6 16 18 7 11 10 19 | 3 4 17 12 13",
    "k": "16 13 1 11 12 18 6 14 5 3 7 9 20 19 15 | 4 2 10 8 17",
    "l": "10 7 6 19 16 8 17 1 14 4 9 3 15 11 12 | 2 18 20 13 5",
    "m": "18 4 14 17 12 10 7 3 9 1 8 15 6 13 2 | 5 11 20 16 19",
    "n": "5 4 13 18 14 10 19 15 7 9 3 2 8 16 20 | 1 12 11 6 17",
    "o": "9 12 13 18 7 1 15 17 10 8 4 5 20 16 6 | 14 19 11 2 3",
    "p": "9 12 13 18 2 11 15 17 10 8 4 5 20 16 6 | 14 19 1 7 3",
    "q": "3 14 13 18 2 11 15 17 10 8 4 5 20 16 6 | 12 19 1 7 9",
    "r": "3 14 13 1 2 11 15 17 7 8 4 5 9 16 19 | 12 6 18 10 20",
    "s": "3 14 6 1 2 11 12 17 7 20 4 5 9 16 19 | 15 13 18 10 8",
    "t": "3 15 13 1 2 11 18 17 7 20 8 5 9 16 19 | 14 6 12 10 4",
    "u": "3 15 13 14 6 11 18 17 7 20 8 4 9 16 10 | 1 2 12 19 5",
    "v": "1 2 12 14 6 19 18 17 5 20 8 4 9 16 10 | 3 15 13 11 7",
    "w": "1 2 12 14 13 19 18 7 11 20 8 4 9 16 10 | 3 15 6 5 17",
}

_COCO_BASE = [
    0, 8, 10, 11, 13, 14, 15, 22, 23, 24, 25, 27, 28, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 46, 47, 48,
    49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 65, 70, 73, 74, 75, 76, 77, 78, 79, 80, 81, 82, 84, 85, 86, 87,
    88, 89, 90,
]  # fmt: skip
_COCO_VOC = [1, 2, 3, 4, 5, 6, 7, 9, 16, 17, 18, 19, 20, 21, 44, 62, 63, 64, 67, 72]
VOC_TO_COCO = dict(
    zip(_range(1, 20), [5, 2, 16, 9, 44, 6, 3, 17, 62, 21, 67, 18, 19, 4, 1, 64, 20, 63, 7, 72], strict=True)
)

# MiB's second class order on ADE20K. Its step 0 is whatever the later steps leave over.
_ADE_B_50 = [
    2, 4, 7, 11, 15, 16, 17, 20, 30, 35, 37, 41, 50, 51, 52, 59, 64, 65, 66, 67, 68, 72, 73, 78, 79, 83, 85, 88, 89, 92,
    94, 97, 98, 102, 108, 110, 111, 112, 114, 115, 118, 122, 124, 127, 137, 138, 139, 141, 145, 146,
]  # fmt: skip
_ADE_B_10 = [
    [11, 16, 50, 64, 66, 73, 89, 92, 145, 146],
    [30, 37, 51, 52, 72, 85, 98, 114, 115, 138],
    [2, 35, 65, 97, 110, 111, 112, 118, 124, 141],
    [4, 7, 15, 41, 67, 78, 79, 88, 108, 139],
    [17, 20, 59, 68, 83, 94, 102, 122, 127, 137],
]
_ADE_B_SECOND_50 = [
    3, 5, 6, 8, 10, 12, 13, 19, 21, 23, 26, 31, 33, 34, 36, 39, 40, 43, 44, 53, 55, 57, 60, 70, 71, 80, 86, 87, 91, 95,
    99, 101, 105, 106, 107, 113, 116, 120, 125, 126, 131, 132, 133, 140, 142, 143, 147, 148, 149, 150,
]  # fmt: skip


def _after_the_rest(last: int, later: Steps) -> Steps:
    """Step 0 with every class up to `last` that no later step has."""
    taken = {c for step in later for c in step}
    return [[c for c in range(last + 1) if c not in taken], *later]


TASKS: dict[str, dict[str, Steps]] = {
    "voc": {
        "offline": [_range(0, 20)],
        "offline18-20": [[0, *_range(18, 20)]],
        "19-1": _groups(19, 1, 20),
        "19-1b": [[c for c in range(21) if c != 5], [5]],
        "15-5": _groups(15, 5, 20),
        "15-1": _groups(15, 1, 20),
        "10-10": _groups(10, 10, 20),
        "10-10s": _groups(10, 1, 20),
        "10-5-5": _groups(10, 5, 20),
        "10-2": _groups(10, 2, 20),
        "5-3": _groups(5, 3, 20),
        "5-5": _groups(5, 5, 20),
        "5-1": _groups(5, 1, 20),
        "2-2": _groups(2, 2, 20),
        "2-1": _groups(2, 1, 20),
        **{f"15-1_{letter}": _shuffled(line) for letter, line in _ORDERS.items()},
    },
    "ade": {
        "offline": [_range(0, 150)],
        "100-50": _groups(100, 50, 150),
        "100-10": _groups(100, 10, 150),
        "100-5": _groups(100, 5, 150),
        "50-50": _groups(50, 50, 150),
        "50-20": _groups(50, 20, 150),
        "50-10": _groups(50, 10, 150),
        "25-25": _groups(25, 25, 150),
        "10-10": _groups(10, 10, 150),
        "100-50b": _after_the_rest(150, [_ADE_B_50]),
        "100-10b": _after_the_rest(150, _ADE_B_10),
        "50-50b": _after_the_rest(150, [_ADE_B_SECOND_50, _ADE_B_50]),
    },
    "coco-voc": {"voc": [_COCO_BASE, _COCO_VOC], "offline": [sorted([*_COCO_BASE, *_COCO_VOC])]},
}

ALIASES: dict[tuple[str, str], str] = {
    ("voc", "15-5s"): "15-1",
    ("voc", "10-1"): "10-10s",
    ("voc", "10-5"): "10-5-5",
    ("voc", "joint"): "offline",
    ("ade", "joint"): "offline",
    ("ade", "50"): "50-50",
    ("ade", "50b"): "50-50b",
    ("coco-voc", "joint"): "offline",
    **{("voc", f"15-5s_{letter}"): f"15-1_{letter}" for letter in _ORDERS},
}
