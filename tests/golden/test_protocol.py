"""Checks W36 (rules), W37, W47 of web_wilss.md and A1-A7, A11, A12 of ciss_methods.md."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.datasets.tasks import (
    canonical_task,
    classes_per_step,
    label_map,
    order,
    sats_thresholds,
    select_images,
    select_labels,
)
from pipeline.datasets.transforms import crop_box, eval_geometry

RAW = [[0, 3, 0, 0], [0, 3, 16, 0], [0, 16, 20, 0], [0, 20, 0, 0], [0, 17, 255, 0], [0, 2, 5, 0]]


def shown(masks: list[list[int]], n: int = 20) -> np.ndarray:
    table = np.zeros((len(masks), n), bool)
    for row, mask in enumerate(masks):
        table[row, [v - 1 for v in mask if 0 < v < 255]] = True
    return table


def mapped(masks: list[list[int]], *key: object) -> list[list[int]]:
    table = label_map(*key)  # type: ignore[arg-type]
    return [table[np.array(mask)].tolist() for mask in masks]


def test_A1_outputs_per_step() -> None:
    sizes = {
        ("voc", "15-5s"): [16, 1, 1, 1, 1, 1],
        ("voc", "10-1"): [11, *[1] * 10],
        ("voc", "5-3"): [6, *[3] * 5],
        ("ade", "100-10"): [101, *[10] * 5],
        ("ade", "25-25"): [26, *[25] * 5],
        ("ade", "10-10"): [11, *[10] * 14],
    }
    for key, expected in sizes.items():
        assert [len(step) for step in classes_per_step(*key)] == expected


@pytest.mark.parametrize(
    ("task", "step", "setting", "expected"),
    [
        ("15-5s", 1, "overlap", [1, 2]),
        ("15-5s", 1, "disjoint", [1]),
        ("15-5s", 0, "overlap", [0, 1, 5]),
        ("15-5s", 0, "disjoint", [0, 5]),
        ("15-5", 1, "overlap", [1, 2, 3, 4]),
    ],
)
def test_A2_selection(task: str, step: int, setting: str, expected: list[int]) -> None:
    assert select_images(shown(RAW), "voc", task, step, setting).tolist() == expected


def seen(masks: list[list[int]], task: str, step: int) -> list[int]:
    """Positions of evaluation images with any class so far."""
    chosen = [select_images(shown(masks), "voc", task, t, "overlap").tolist() for t in range(step + 1)]
    return sorted({position for positions in chosen for position in positions})


def test_A2_images_of_the_test() -> None:
    assert seen(RAW, "15-5s", 1) == [0, 1, 2, 5]


def test_A3_plop_labels() -> None:
    assert mapped(RAW[1:3], "voc", "15-5s", 1, "train", "plop") == [[0, 0, 16, 0], [0, 16, 0, 0]]
    expected = [[0, 0, 16, 0], [0, 16, 20, 0], [0, 20, 0, 0], [0, 17, 255, 0]]
    assert mapped(RAW[1:5], "voc", "15-5", 1, "train", "plop") == expected
    base = mapped([RAW[0], RAW[1], RAW[5]], "voc", "15-5s", 0, "train", "plop")
    assert base == [[0, 3, 0, 0], [0, 3, 0, 0], [0, 2, 5, 0]]
    test = mapped([RAW[0], RAW[1], RAW[2], RAW[5]], "voc", "15-5s", 1, "test", "plop")
    assert test == [[0, 3, 0, 0], [0, 3, 16, 0], [0, 16, 0, 0], [0, 2, 5, 0]]


def test_A4_mib_labels() -> None:
    assert mapped(RAW[4:5], "voc", "15-5", 1, "train", "mib") == [[0, 17, 0, 0]]
    assert mapped(RAW[1:3], "voc", "15-5s", 1, "val", "mib") == [[0, 255, 16, 0], [0, 16, 255, 0]]
    assert mapped(RAW[2:3], "voc", "15-5s", 1, "test", "mib") == [[0, 16, 255, 0]]


def test_A5_shuffled_order() -> None:
    assert select_images(shown(RAW), "voc", "15-5s_b", 1, "overlap").tolist() == [4]
    assert mapped(RAW[4:5], "voc", "15-5s_b", 1, "train", "plop") == [[0, 16, 255, 0]]
    assert seen(RAW, "15-5s_b", 1) == [1, 2, 3, 4, 5]
    expected = [[0, 0, 8, 0], [0, 8, 3, 0], [0, 3, 0, 0], [0, 16, 255, 0], [0, 14, 9, 0]]
    assert mapped(RAW[1:], "voc", "15-5s_b", 1, "test", "plop") == expected


def test_A6_ade() -> None:
    rows = [[0, 101, 5, 0], [150, 101, 0, 0], [7, 8, 0, 0], [110, 111, 1, 0]]
    table = shown(rows, 150)
    assert select_images(table, "ade", "100-10", 1, "overlap").tolist() == [0, 1, 3]
    assert select_images(table, "ade", "100-10", 1, "disjoint").tolist() == [0]
    train = mapped([rows[0], rows[1], rows[3]], "ade", "100-10", 1, "train", "plop")
    assert train == [[0, 101, 0, 0], [0, 101, 0, 0], [110, 0, 0, 0]]
    assert mapped(rows, "ade", "100-10", 1, "test", "plop") == [
        [0, 101, 5, 0],
        [0, 101, 0, 0],
        [7, 8, 0, 0],
        [110, 0, 1, 0],
    ]
    expected = [[255, 101, 5, 255], [255, 101, 255, 255], [7, 8, 255, 255], [110, 255, 1, 255]]
    assert mapped(rows, "ade", "100-10", 1, "test", "mib") == expected


def between(ids: list[int], lo: int, hi: int, training: bool) -> list[int]:
    """Ids masked by SATS's thresholds, as 2.3 words it."""
    low = [0 if training and lo > 0 and v <= lo else v for v in ids]
    return [0 if v > hi and v != 255 else v for v in low]


def test_A7_thresholds_of_sats() -> None:
    assert sats_thresholds("voc", "15-5s", 1) == (15, 16)
    assert sats_thresholds("voc", "5-3", 2) == (8, 11)
    assert sats_thresholds("ade", "100-10", 1) == (100, 110)
    assert {sats_thresholds("voc", task, 0)[0] for task in ("15-5s", "5-3", "10-1", "offline")} == {-1}
    assert sats_thresholds("ade", "50", 0) == (-1, 50)
    with pytest.raises(ValueError, match="15-5s_b of voc is not in ascending class order"):
        sats_thresholds("voc", "15-5s_b", 1)


def test_A7_thresholds_mask_as_the_label_maps_do() -> None:
    ids = [3, 16, 20, 255]
    assert between(ids, 15, 16, training=True) == [0, 16, 0, 255]
    assert between(ids, 15, 16, training=False) == [3, 16, 0, 255]
    every = [*range(21), 255]
    for task in ("15-5s", "5-3", "19-1", "10-10"):
        for step in range(len(classes_per_step("voc", task))):
            lo, hi = sats_thresholds("voc", task, step)
            for split, training in (("train", True), ("test", False)):
                assert mapped([every], "voc", task, step, split, "plop") == [between(every, lo, hi, training)]


def test_A11_W47_golden_crops() -> None:
    rng = random.Random(42)
    expected = [
        (20, 179, 347, 292),
        (89, 108, 283, 338),
        (0, 0, 375, 500),
        (1, 97, 368, 316),
        (0, 0, 375, 500),
    ]
    assert [crop_box(500, 375, rng) for _ in range(5)] == expected
    rng = random.Random(0)
    expected = [(0, 0, 375, 500), (0, 5, 374, 446), (42, 62, 307, 306), (28, 30, 296, 376), (0, 0, 375, 500)]
    assert [crop_box(500, 375, rng) for _ in range(5)] == expected
    rng = random.Random(3)
    assert {crop_box(500, 200, rng) for _ in range(5)} == {(0, 116, 200, 267)}


def test_W47_share_of_attempts_that_fit() -> None:
    rng = random.Random(1)
    boxes = [crop_box(500, 375, rng) for _ in range(4000)]
    whole = sum(box == (0, 0, 375, 500) for box in boxes) / len(boxes)
    # Ten attempts fail with (1 - p)^10, so the share of whole images bounds p.
    assert (1 - 0.19) ** 10 - 0.02 < whole < (1 - 0.16) ** 10 + 0.02


def test_A12_evaluation_geometry() -> None:
    label = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8))
    assert np.asarray(eval_geometry(label, 3, nearest=True)).tolist() == [
        [9, 11, 13],
        [25, 27, 29],
        [41, 43, 45],
    ]


def test_W37_label_maps() -> None:
    ids = np.array([0, 1, 2, 10, 11, 15, 16, 17, 20, 255])
    cases = {
        ("15-5", 1, "train"): [0, 0, 0, 0, 0, 0, 16, 17, 20, 0],
        ("15-5", 1, "val"): [0, 1, 2, 10, 11, 15, 16, 17, 20, 255],
        ("15-5", 1, "test"): [0, 1, 2, 10, 11, 15, 16, 17, 20, 255],
        ("15-5", 0, "test"): [0, 1, 2, 10, 11, 15, 0, 0, 0, 255],
        ("15-5s", 2, "train"): [0, 0, 0, 0, 0, 0, 0, 17, 0, 0],
        ("19-1b", 1, "test"): [0, 1, 2, 9, 10, 14, 15, 16, 19, 255],
    }
    for (task, step, split), expected in cases.items():
        assert label_map("voc", task, step, split, "wilson")[ids].tolist() == expected  # type: ignore[arg-type]


def test_W37_coco_voc() -> None:
    ids = np.array([0, 1, 2, 8, 90, 62, 72, 12, 91, 255])
    assert [len(step) for step in classes_per_step("coco-voc", "voc")] == [61, 20]
    cases = {
        (0, "train"): [0, 0, 0, 1, 60, 0, 0, 0, 0, 0],
        (1, "train"): [0, 61, 62, 0, 0, 76, 80, 0, 0, 0],
        (1, "test"): [0, 61, 62, 1, 60, 76, 80, 0, 0, 255],
    }
    for (step, split), expected in cases.items():
        assert label_map("coco-voc", "voc", step, split, "wilson")[ids].tolist() == expected  # type: ignore[arg-type]


def test_W37_image_level_vectors() -> None:
    y = np.zeros(20, np.float32)
    y[[1, 15, 17]] = 1

    def positions(task: str, step: int, every: bool) -> tuple[int, list[int]]:
        vector = select_labels(y, "voc", task, step, every)
        return len(vector), np.flatnonzero(vector).tolist()

    assert positions("15-5", 1, False) == (20, [15, 17])
    assert positions("15-5", 1, True) == (20, [1, 15, 17])
    assert positions("15-5s", 1, False) == (16, [15])
    assert positions("15-5s", 2, False) == (17, [])
    assert positions("19-1b", 1, True) == (20, [1, 14, 16])


def test_aliases_and_mistakes() -> None:
    assert canonical_task("voc", "15-1") == canonical_task("voc", "15-5s") == "15-1"
    assert canonical_task("voc", "15-5s_b") == "15-1_b"
    assert canonical_task("minivoc", "10-1") == "10-10s"
    with pytest.raises(ValueError, match="unknown task `15-6`.*did you mean"):
        canonical_task("voc", "15-6")
    with pytest.raises(ValueError, match="steps 0..1, got step 2"):
        order("voc", "15-5", 2)
    with pytest.raises(ValueError, match="did you mean `overlap`"):
        select_images(shown(RAW), "voc", "15-5", 0, "overlapped")


TASKS = ["19-1", "19-1b", "15-5", "15-5s", "10-5-5", "10-2", "10-10", "10-10s", "5-3", "15-5s_k"]


@given(
    st.lists(st.lists(st.integers(1, 20), min_size=1, max_size=5), min_size=1, max_size=40),
    st.sampled_from(TASKS),
)
def test_W36_disjoint_partitions_and_overlap_covers(images: list[list[int]], task: str) -> None:
    table = shown(images)
    steps = range(len(classes_per_step("voc", task)))
    disjoint = [i for step in steps for i in select_images(table, "voc", task, step, "disjoint").tolist()]
    overlap = {i for step in steps for i in select_images(table, "voc", task, step, "overlap").tolist()}
    assert sorted(disjoint) == list(range(len(images)))
    assert overlap == set(range(len(images)))
    last = steps[-1]
    a, b = (select_images(table, "voc", task, last, setting).tolist() for setting in ("overlap", "disjoint"))
    assert a == b


@given(st.sampled_from(TASKS), st.data())
def test_no_future_class_in_a_training_mask(task: str, data: st.DataObject) -> None:
    step = data.draw(st.integers(0, len(classes_per_step("voc", task)) - 1))
    rule = data.draw(st.sampled_from(["plop", "mib", "wilson"]))
    table = label_map("voc", task, step, "train", rule)
    known = order("voc", task, step)
    current = set(classes_per_step("voc", task)[step]) - {0}
    assert table.shape == (256,)
    for class_id in range(21):
        assert table[class_id] == (known.index(class_id) if class_id in current else 0)
