"""Check A10 of ciss_methods.md on ADE20K: images per step, the partition of MiB, its second class order.

The matrices were solved for by integer programming, as those of test_protocol_counts.py: not ADE20K's own, but every
overlap count that the specification publishes holds for them at once.
"""

from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.datasets.images import open_mask
from pipeline.datasets.tasks import classes_per_step, select_images
from pipeline.datasets.tasks.partition import partition_images

BLOCKS = [1, 11, 21, 26, 31, 41, 51, 61, 71, 76, 81, 91, *range(101, 151, 5), 151]
"""First class of the largest blocks that no published task divides."""
TRAIN = """
    1+11+21+26+31+41+51+61+81:1420 1+11+21+26+71+91:176 1+11+21+26+76+131:53 1+11+21+31+41+126:69
    1+11+21+31+101+106:32 1+11+21+31+141+146:67 1+11+21+101:1110 1+11+26+31+81+126+136:235 1+11+26+31+111+121:523
    1+11+26+31+111+141:567 1+11+26+31+131:1058 1+11+26+41+51:2289 1+11+26+41+61+71:434 1+11+26+41+131+141+146:225
    1+11+26+121+126:274 1+11+31+41+71+146:532 1+11+31+81+91:1203 1+11+31+116+146:715 1+11+41:1 1+11+41+61+91:1199
    1+11+51+61+91+111+116:144 1+11+61+91+106+146:359 1+11+61+91+136+141:218 1+11+81:3119 1+21+26+31+71+136:727
    1+21+31+81+116:315 1+21+41:337 1+21+61+76:398 1+31+41+106:20 1+41+131+136:471 1+61+81+106+121:189
    1+61+121+141:161 1+126+136:1292 11+21+26+31+41:215 26+116:30 71+76:15 121+126:4
"""
VAL = """
    1+11+21+26+51+61+136:31 1+11+21+26+51+81+101+116:3 1+11+21+26+101+121+131+146:63 1+11+21+31+41+51+141+146:35
    1+11+21+31+41+131+141:4 1+11+21+31+101+106:7 1+11+21+41+51+81+91:48 1+11+21+41+111+116+126:16 1+11+21+41+121:80
    1+11+21+51:12 1+11+21+116+141:73 1+11+26+31+41+61:320 1+11+26+31+81:195 1+11+26+41+81+116+121+126:38
    1+11+26+111:117 1+11+31+41+51+71+136+141:7 1+11+31+41+51+91:31 1+11+31+126+131:31 1+11+31+126+136:96
    1+11+31+146:27 1+11+41+91+136:72 1+11+41+106:1 1+11+41+146:81 1+11+61+91:121 1+11+61+91+106+146:10
    1+11+81+91+131+136:59 1+11+116+146:17 1+11+121+136:8 1+41+61+91:3 1+51+61+81:1 1+51+76+81:228 1+81+106:43
    1+81+136:59 1+101+126+131:36 11+41+51:22 41:1 41+111:1 91+111:3
"""
"""Sets of blocks, by their first class, and how many images show exactly those."""


def matrix(counts: str) -> NDArray[np.bool_]:
    """The presence matrix (images, 150) in a random order, each block shown by a random class of it."""
    rng = np.random.default_rng(0)
    after = dict(pairwise(BLOCKS))
    rows = []
    for entry in counts.split():
        blocks, number = entry.split(":")
        for _ in range(int(number)):
            row = np.zeros(150, bool)
            row[[rng.integers(int(b), after[int(b)]) - 1 for b in blocks.split("+")]] = True
            rows.append(row)
    return np.array(rows)[rng.permutation(len(rows))]


PUBLISHED = {
    "100-50": ("20192 9390", "2000 1018"),
    "100-10": ("20192 1710 2294 2747 4279 2844", "2000 163 268 368 466 317"),
    "100-5": (
        "20192 1142 600 1234 1204 1151 1874 1807 2943 1238 1898",
        "2000 109 61 137 147 189 217 193 332 119 233",
    ),
    "50": ("20177 13186 9390", "1997 1341 1018"),
    "50-10": (
        "20177 3853 4522 2335 6481 3299 1710 2294 2747 4279 2844",
        "1997 418 486 235 674 347 163 268 368 466 317",
    ),
    "25-25": ("20147 13187 8261 9043 4443 7027", "1995 1330 872 914 516 763"),
    "10-10": (
        "19932 16237 10554 7698 7212 3853 4522 2335 6481 3299 1710 2294 2747 4279 2844",
        "1973 1625 1042 753 760 418 486 235 674 347 163 268 368 466 317",
    ),
}
"""Images per step under the overlap rule: training split, evaluation split."""


@pytest.fixture(scope="module")
def splits() -> list[NDArray[np.bool_]]:
    return [matrix(TRAIN), matrix(VAL)]


@pytest.mark.parametrize("task", PUBLISHED)
def test_A10_ade_images_per_step(splits: list[NDArray[np.bool_]], task: str) -> None:
    steps = range(len(classes_per_step("ade", task)))
    for table, expected in zip(splits, PUBLISHED[task], strict=True):
        got = [len(select_images(table, "ade", task, step, "overlap")) for step in steps]
        assert got == [int(n) for n in expected.split()]


def test_A10_ade_images_in_all(splits: list[NDArray[np.bool_]]) -> None:
    assert [len(table) for table in splits] == [20_196, 2_000]
    empty = np.concatenate([splits[0], np.zeros((14, 150), bool)])
    parts = partition_images(empty, "ade", "100-10")
    assert sum(len(part) for part in parts) == 20_196


# Totals of classes 1, 51, 101 are 3, 3, 2. Class 1 is visited first: image 0 scores 122 for both of its classes, the
# first wins; image 1 follows; image 4 scores 120/3 + 5/3 for class 1 and 122.5 for 101, which wins. Class 51: image 2
# scores 121.7 for 51 and 60 + 2.5 for 101; image 3 follows. Image 5 shows nothing.
BY_HAND = [{1, 51}, {1}, {51, 101}, {51}, {1, 101}, set()]
# Image 0 goes to step 0 and counts for class 2 as well, so that image 1 scores 62 for 2 and 122 for 51.
COUNTS_FOR_ALL = [{1, 2}, {2, 51}, {51}]


def ade(images: list[set[int]]) -> NDArray[np.bool_]:
    table = np.zeros((len(images), 150), bool)
    for row, classes in enumerate(images):
        table[row, [c - 1 for c in classes]] = True
    return table


def dealt(images: list[set[int]], task: str) -> list[list[int]]:
    return [positions.tolist() for positions in partition_images(ade(images), "ade", task)]


def test_A10_partition_of_ade_by_hand() -> None:
    assert dealt(BY_HAND, "50-50") == [[0, 1], [2, 3], [4]]
    assert dealt(COUNTS_FOR_ALL, "50-50") == [[0], [1, 2], []]


@pytest.mark.parametrize(("before", "step"), [(8, 0), (9, 1)])
def test_A10_weight_of_what_a_class_lacks(before: int, step: int) -> None:
    # Totals are 20 and 2. The first image scores 131 for class 51. The second of its kind then scores 60 + 11 for 51
    # and 120 (1 - before/20) + 1.1 for class 1: 73.1 after eight other images of class 1, 67.1 after nine.
    images = [{1, 51}, *[{1}] * before, {1, 51}, *[{1}] * (18 - before)]
    assert before + 1 in dealt(images, "50-50")[step]


def test_A10_two_step_partition_is_not_run_again() -> None:
    # On 100-10: image 0 scores 124 for class 111, image 1 then 122.7 for class 1, image 2 then 122 for class 101.
    # A run on 100-50 itself would count image 0 for class 101 too, and image 2 would stay with class 1 on a tie.
    images = [{1, 101, 111}, {1, 101, 111}, {1, 101}]
    assert dealt(images, "100-10") == [[1], [2], [0], [], [], []]
    assert dealt(images, "100-50") == [[1], [0, 2]]


@given(
    st.lists(st.sets(st.integers(1, 150), max_size=6), max_size=25), st.sampled_from(["100-50b", "100-10", "50-50b"])
)
def test_A10_partition_gives_every_image_to_one_step_that_it_shows(images: list[set[int]], task: str) -> None:
    steps = classes_per_step("ade", task)
    found = dealt(images, task)
    assert sorted(chain(*found)) == [i for i, classes in enumerate(images) if classes]
    assert all(images[i] & set(classes) for classes, positions in zip(steps, found, strict=True) for i in positions)


MASKS = Path(__file__).parents[2] / "data" / "ADEChallengeData2016" / "annotations" / "training"
PARTITIONED = {
    "100-50": "13452 6744",
    "100-10": "13452 1130 1200 1366 1550 1498",
    "50": "8219 6384 5593",
    "100-50b": "10375 9821",
    "100-10b": "10375 1362 1346 2084 2609 2420",
    "50b": "6659 7483 6054",
}
STRICT = {"100-50": "10806 9390", "100-10": "10806 861 1009 1445 3231 2844", "50": "4838 5968 9390"}


@pytest.mark.slow
@pytest.mark.skipif(not MASKS.exists(), reason="sizes of ADE's partition need data/ADEChallengeData2016")
def test_A10_partition_sizes_of_ade() -> None:
    table = ade([set(np.unique(open_mask(str(path))).tolist()) - {0} for path in sorted(MASKS.glob("[!.]*.png"))])
    for task, expected in PARTITIONED.items():
        assert [len(part) for part in partition_images(table, "ade", task)] == [int(n) for n in expected.split()]
    for task, expected in STRICT.items():
        got = [len(select_images(table, "ade", task, step, "disjoint")) for step in range(expected.count(" ") + 1)]
        assert got == [int(n) for n in expected.split()]


def test_partition_needs_every_class() -> None:
    with pytest.raises(ValueError, match="no step for class 1;"):
        partition_images(np.ones((1, 20), bool), "voc", "offline18-20")


def test_second_class_order_of_ade() -> None:
    for task, sizes in {"100-50b": [101, 50], "100-10b": [101, *[10] * 5], "50-50b": [51, 50, 50]}.items():
        steps = classes_per_step("ade", task)
        assert [len(step) for step in steps] == sizes
        assert sorted(chain(*steps)) == list(range(151)) and all(step == sorted(step) for step in steps)
    fifty, tens = classes_per_step("ade", "100-50b"), classes_per_step("ade", "100-10b")
    assert fifty[0] == tens[0] and fifty[1] == sorted(chain(*tens[1:]))
    assert classes_per_step("ade", "50b")[2] == fifty[1]


def test_task_50_20_has_six_steps_of_consecutive_classes() -> None:
    steps = classes_per_step("ade", "50-20")
    assert steps[0] == list(range(51)) and [len(step) for step in steps[1:]] == [20] * 5
    assert [c for step in steps for c in step] == list(range(151))
