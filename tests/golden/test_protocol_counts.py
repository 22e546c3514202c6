"""Checks A10 of ciss_methods.md and W36 of web_wilss.md on VOC: which images belong to a step, and how many.

The label list of the data set is not ours to ship. The matrices here were solved for by integer programming: they
are not the data set's, but every count that the specifications publish for VOC holds for them at once.
"""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.datasets.readers.voc import presence, read_split
from pipeline.datasets.tasks import classes_per_step, select_images

TRAIN = """
    1:365 1+5:49 1+8:172 2:486 3:698 4+12:461 5:155 5+12:326 5+15:124 6:139 6+9:89 6+12:77 6+12+13:7 6+13+14+15:1
    6+20:72 7:566 7+8:140 7+11+13:43 7+14+15:198 7+14+15+16:31 7+15+20:19 7+19:89 8:500 8+15:188 9:131 9+10:112
    9+11:188 9+11+12:4 9+11+15+18+20:27 9+12+15:133 9+13:129 9+15+16+19:109 9+17:40 9+18+20:44 9+20:75 10:104
    10+13:48 11+15+19:266 12+15+16:9 12+16:160 13+15:216 14:201 14+15+17:51 15:2387 15+20:139 16:178 17:208 18:420
    19:36 20:172
"""
"""Class sets of a training split and how many images show exactly that set."""
VAL = """
    1:57 1+15:33 2:72 2+3:7 3+6+9+15:18 3+6+15:11 3+8+14+15+18:1 3+12+15:9 3+15:57 4+11+14+15:5 4+15:67 5:96 6+7:22
    6+7+12+13+15:2 6+9:6 6+11+16:3 6+15+18:12 7:103 8:118 9+11+15:43 9+14:11 9+15:2 9+15+18:2 9+18:41 10:71
    11+12+17:5 11+13+15:1 11+15:18 12:87 12+15+19:6 12+16:19 13:76 14+15:39 14+15+20:20 15:64 15+16:26 15+18+19:10
    16:37 17:26 17+20:26 18:24 19:68 20:28
"""


def matrix(counts: str, shuffle: int = 0) -> NDArray[np.bool_]:
    """The presence matrix (images, 20) of class sets written as `1+5:49`, in a random order."""
    rows = []
    for entry in counts.split():
        classes, number = entry.split(":")
        row = np.zeros(20, bool)
        row[[int(c) - 1 for c in classes.split("+")]] = True
        rows += [row] * int(number)
    table = np.array(rows)
    return table[np.random.default_rng(shuffle).permutation(len(table))]


def sizes(table: NDArray[np.bool_], task: str, setting: str) -> list[int]:
    steps = range(len(classes_per_step("voc", task)))
    return [len(select_images(table, "voc", task, step, setting)) for step in steps]


PUBLISHED = {
    "offline": ("10582", "10582"),
    "offline18-20": ("1468", "628"),
    "19-1": ("10410 548", "10034 548"),
    "19-1b": ("10427 654", "9928 654"),
    "15-5": ("9568 2145", "8437 2145"),
    "15-5s": ("9568 487 299 491 500 548", "8437 378 299 420 500 548"),
    "10-5-5": ("6139 5542 2145", "3706 4731 2145"),
    "10-2": ("6139 1701 925 4236 790 1048", "3706 1056 428 3625 719 1048"),
    "10-10": ("6139 6876", "3706 6876"),
    "10-1": (
        "6139 528 1177 444 482 3898 487 299 491 500 548",
        "3706 188 868 227 201 3247 378 299 420 500 548",
    ),
    "5-3": ("2836 2331 1542 2095 4484 1468", "1753 1517 624 1296 3924 1468"),
    "5-1": (
        "2836 385 1086 1000 1081 264 528 1177 444 482 3898 487 299 491 500 548",
        "1753 139 566 812 220 216 188 868 227 201 3247 378 299 420 500 548",
    ),
}
"""Images per step of VOC's training split, overlap and disjoint (A10's and W36's tables)."""


@pytest.mark.parametrize("task", PUBLISHED)
def test_A10_W36_training_images_per_step(task: str) -> None:
    table = matrix(TRAIN)
    overlap, disjoint = ([int(n) for n in text.split()] for text in PUBLISHED[task])
    assert sizes(table, task, "overlap") == overlap
    assert sizes(table, task, "disjoint") == disjoint


EVALUATION = {
    "offline": ("1449", "1449"),
    "offline18-20": ("238", "238"),
    "19-1": ("1421 74", "1421 1449"),
    "15-5": ("1240 354", "1240 1449"),
    "15-5s": ("1240 85 57 90 84 74", "1240 1277 1329 1353 1421 1449"),
    "10-10": ("869 897", "869 1449"),
    "10-1": (
        "869 75 128 79 76 446 85 57 90 84 74",
        "869 893 1005 1081 1140 1240 1277 1329 1353 1421 1449",
    ),
    "5-3": ("433 296 226 281 562 238", "433 699 893 1140 1329 1449"),
    "10-5-5": ("869 647 354", "869 1240 1449"),
}
"""Images of val-t and test-t: with a class of the step, and with any class so far."""


@pytest.mark.parametrize("task", EVALUATION)
def test_A10_evaluation_images_per_step(task: str) -> None:
    table = matrix(VAL)
    val, test = ([int(n) for n in text.split()] for text in EVALUATION[task])
    assert sizes(table, task, "overlap") == val
    seen: NDArray[np.int64] = np.empty(0, np.int64)
    for step, expected in enumerate(test):
        seen = np.union1d(seen, select_images(table, "voc", task, step, "overlap"))
        assert len(seen) == expected


def test_W36_class_counts() -> None:
    expected = {
        TRAIN: "586 486 698 461 654 385 1086 1000 1081 264 528 1177 444 482 3898 487 299 491 500 548",
        VAL: "90 79 103 72 96 74 127 119 123 71 75 128 79 76 446 85 57 90 84 74",
    }
    several = {TRAIN: [0, 6746, 2894, 774, 141, 27], VAL: [0, 927, 374, 122, 23, 3]}
    for counts, columns in expected.items():
        table = matrix(counts)
        assert table.sum(axis=0).tolist() == [int(n) for n in columns.split()]
        assert np.bincount(table.sum(axis=1), minlength=6).tolist() == several[counts]
    assert matrix(TRAIN).sum(axis=1).mean() == pytest.approx(1.469949, abs=1e-6)


LISTS = {
    ("15-5", "disjoint", 0): (8437, 43741915, "eccd6e5fa764"),
    ("15-5", "overlap", 0): (9568, 50057263, "15d3a0cf7a15"),
    ("15-5", "overlap", 1): (2145, 12242156, "cfb95376639f"),
    ("10-10", "disjoint", 0): (3706, 20563715, "b2a5e34cb180"),
    ("10-10", "overlap", 0): (6139, 33557792, "7e3b04f0efc5"),
    ("10-10", "overlap", 1): (6876, 35420356, "0f0016577f88"),
    ("19-1", "disjoint", 0): (10034, 53046380, "bd41b3dbd1c1"),
    ("19-1", "overlap", 0): (10410, 55083581, "469394f195bc"),
    ("19-1", "overlap", 1): (548, 2937691, "77b7512a1b90"),
    ("15-5s", "overlap", 1): (487, 2647934, "862ba8366ea5"),
    ("15-5s", "disjoint", 1): (378, 1994465, "85b6eb1db048"),
    ("15-5s", "overlap", 3): (491, 2882557, "4c618a7d32a6"),
    ("15-5s", "disjoint", 3): (420, 2468349, "3f7febad8d02"),
    ("10-1", "overlap", 5): (3898, 18010523, "f803b1b398e7"),
    ("10-1", "disjoint", 5): (3247, 14397471, "b485dc668a07"),
    ("10-2", "overlap", 1): (1701, 10053567, "66cc8ab30495"),
    ("10-2", "disjoint", 1): (1056, 6336004, "2309690a97c8"),
    ("10-5-5", "overlap", 1): (5542, 27703785, "565a90a0af43"),
    ("10-5-5", "disjoint", 1): (4731, 23178200, "b8f9330741ab"),
}
FIRST = {
    ("15-5", "overlap", 1): [1, 4, 10, 19],
    ("10-10", "disjoint", 0): [3, 6, 7, 9],
    ("10-10", "overlap", 1): [0, 1, 2, 4],
    ("19-1", "overlap", 1): [1, 4, 32, 34],
}
VOC = Path(__file__).parents[2] / "data" / "voc"


@pytest.mark.slow
@pytest.mark.skipif(not (VOC / "splits").exists(), reason="index sums and hashes need VOC under data/voc")
def test_W36_sums_and_hashes_of_the_original_lists() -> None:
    table = presence(VOC, "train", read_split(VOC, "train"))
    for (task, setting, step), expected in LISTS.items():
        found = select_images(table, "voc", task, step, setting)
        digest = hashlib.md5(found.astype("<i8").tobytes(), usedforsecurity=False).hexdigest()
        assert (len(found), int(found.sum()), digest[:12]) == expected, (task, setting, step)
        assert found[:4].tolist() == FIRST.get((task, setting, step), found[:4].tolist())


def test_W36_sizes_of_the_lists_agree_with_the_tables() -> None:
    for (task, setting, step), (size, _, _) in LISTS.items():
        assert size == int(PUBLISHED[task][setting == "disjoint"].split()[step])
