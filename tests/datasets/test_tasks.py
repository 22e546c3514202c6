"""Tasks, settings and reference counts of every data set; label maps of all tasks."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.datasets import DatasetError, reference
from pipeline.datasets.readers import class_names
from pipeline.datasets.tasks import (
    SETTINGS,
    aliases_of,
    canonical_task,
    classes_per_step,
    label_map,
    order,
    select_images,
    task_names,
)
from pipeline.datasets.tasks.files import read_tasks

IDS = {"voc": range(21), "ade": range(151), "coco-voc": [0, *class_names.COCO]}
ALL = [(dataset, task) for dataset in IDS for task in task_names(dataset)]
RULES = ("plop", "mib", "wilson")


@pytest.mark.parametrize(("dataset", "task"), ALL)
def test_every_task_names_each_class_once(dataset: str, task: str) -> None:
    ids = [c for step in classes_per_step(dataset, task) for c in step]
    assert len(set(ids)) == len(ids) and ids[0] == 0
    if task != "offline18-20":
        assert set(ids) == set(IDS[dataset])


def test_names_of_classes() -> None:
    assert len(class_names.VOC) == 21 and len(class_names.ADE) == 151 and len(class_names.COCO) == 80
    assert (class_names.COCO[1], class_names.COCO[72], class_names.COCO[90]) == ("person", "tv", "toothbrush")
    assert (class_names.ADE[60], class_names.ADE[149]) == ("stairway", "clock")
    # The same 20 things under VOC's ids and COCO's; only the spelling differs.
    same = {5: "bottle", 9: "chair", 12: "dog", 15: "person", 19: "train"}
    from pipeline.datasets.tasks.tables import VOC_TO_COCO

    assert all(class_names.COCO[VOC_TO_COCO[c]] == name == class_names.VOC[c] for c, name in same.items())


@pytest.mark.parametrize(("dataset", "alias"), [(d, a) for d in IDS for a in aliases_of(d)])
def test_aliases_lead_to_tasks(dataset: str, alias: str) -> None:
    assert canonical_task(dataset, alias) in task_names(dataset)


def test_ade_order_b_shares_its_last_fifty_classes() -> None:
    last = set(classes_per_step("ade", "100-50b")[1])
    assert len(last) == 50 and last == set(classes_per_step("ade", "50-50b")[2])
    assert last == {c for step in classes_per_step("ade", "100-10b")[1:] for c in step}
    assert [len(step) for step in classes_per_step("ade", "50b")] == [51, 50, 50]


def test_reference_sizes_that_follow_from_the_class_counts() -> None:
    counts = reference.VOC_CLASS_IMAGES["train"]
    for task in {t for d, t, _ in reference.TRAIN if d == "voc"}:
        steps = classes_per_step("voc", task)
        overlap, disjoint = (reference.TRAIN["voc", task, setting] for setting in ("overlap", "disjoint"))
        assert len(steps) == len(overlap) == len(disjoint)
        if task != "offline18-20":
            assert sum(disjoint) == 10582 and overlap[-1] == disjoint[-1]
        assert all(d <= o for d, o in zip(disjoint, overlap, strict=True))
        for step, classes in enumerate(steps):
            if len(classes) == 1:
                assert overlap[step] == counts[classes[0] - 1]
            assert max(counts[c - 1] for c in classes if c) <= overlap[step] <= sum(counts[c - 1] for c in classes if c)
    assert sum(counts) == round(1.469949 * 10582)
    for key, sizes in reference.VAL.items():
        for size, classes in zip(sizes, classes_per_step(*key), strict=True):
            if key[0] == "voc" and len(classes) == 1:
                assert size == reference.VOC_CLASS_IMAGES["val"][classes[0] - 1]


def test_reference_sizes_of_ade() -> None:
    usable = reference.IMAGES["ade", "train"] - reference.ADE_EMPTY_TRAIN
    for (dataset, task, setting), sizes in reference.TRAIN.items():
        if dataset == "ade":
            assert len(sizes) == len(classes_per_step("ade", task))
            if setting != "overlap":
                assert sum(sizes) == usable
    # The last ten or fifty classes are the same group in several tasks, under either rule.
    ade = reference.TRAIN
    assert len({ade["ade", t, "overlap"][-1] for t in ("100-10", "50-10", "10-10")}) == 1
    assert ade["ade", "100-10", "disjoint"][-1] == ade["ade", "100-10", "overlap"][-1]
    assert sum(ade["ade", "100-10", "partition"][1:]) == ade["ade", "100-50", "partition"][1]


def random_presence(n: int, classes: int, seed: int = 0) -> np.ndarray:
    """Image-level labels with as many images and about as many classes per image as VOC aug has."""
    rng = np.random.default_rng(seed)
    table = np.zeros((n, classes), bool)
    table[np.arange(n), rng.integers(classes, size=n)] = True
    return table | (rng.random((n, classes)) < 0.47 / classes)


@pytest.mark.parametrize("task", task_names("voc"))
def test_selection_from_a_matrix_of_vocs_size(task: str) -> None:
    table = random_presence(10582, 20)
    shown = [set((np.flatnonzero(row) + 1).tolist()) for row in table]
    steps, seen = classes_per_step("voc", task), {0}
    for step, classes in enumerate(steps):
        seen |= set(classes)
        overlap = [i for i, row in enumerate(shown) if row & set(classes)]
        assert select_images(table, "voc", task, step, "overlap").tolist() == overlap
        disjoint = [i for i in overlap if shown[i] <= seen]
        for setting in ("disjoint", "sequential"):
            assert select_images(table, "voc", task, step, setting).tolist() == disjoint


@pytest.mark.parametrize("task", ["100-50", "100-10", "50-50", "100-50b", "100-10b", "50-50b"])
def test_partition_gives_every_image_to_one_step_that_it_shows(task: str) -> None:
    table = random_presence(400, 150, seed=2)
    table[0] = False
    parts = [select_images(table, "ade", task, s, "partition") for s in range(len(classes_per_step("ade", task)))]
    assert sorted(np.concatenate(parts).tolist()) == list(range(1, 400)), "image 0 shows class 0 alone"
    if task in ("100-10", "50-50"):
        for part, classes in zip(parts, classes_per_step("ade", task), strict=True):
            assert table[part][:, [c - 1 for c in classes if c]].any(axis=1).all()


def test_partition_of_100_50_is_that_of_100_10() -> None:
    table = random_presence(300, 150, seed=5)
    tens = [select_images(table, "ade", "100-10", step, "partition") for step in range(6)]
    fifty = [select_images(table, "ade", "100-50", step, "partition") for step in range(2)]
    assert (fifty[0] == tens[0]).all() and fifty[1].tolist() == sorted(np.concatenate(tens[1:]).tolist())


@given(st.sampled_from(ALL), st.sampled_from(RULES), st.booleans(), st.data())
def test_label_maps_are_total_and_hide_the_future(
    key: tuple[str, str], rule: str, keep_old: bool, data: st.DataObject
) -> None:
    step = data.draw(st.integers(0, len(classes_per_step(*key)) - 1))
    known = order(*key, step)
    current = set(classes_per_step(*key)[step]) - {0}
    for split in ("train", "val", "test"):
        table = label_map(*key, step, split, rule, keep_old)  # type: ignore[arg-type]
        assert table.shape == (256,) and set(table.tolist()) <= {*range(len(known)), 255}
        for class_id in set(IDS[key[0]]) - {0}:
            if class_id in current:
                assert table[class_id] == known.index(class_id)
            elif class_id not in known:
                assert table[class_id] in (0, 255), "no future class is ever a label"
    train = label_map(*key, step, "train", rule, keep_old)  # type: ignore[arg-type]
    for class_id in set(known) - current - {0}:
        assert train[class_id] == (known.index(class_id) if keep_old else 0)
    counts = Counter(label_map(*key, step, "test", rule).tolist())  # type: ignore[arg-type]
    assert all(counts[channel] == 1 for channel in range(1, len(known))), "test keeps every known class"


@given(st.sampled_from([k for k in ALL if k[1] != "offline18-20"]), st.integers(0, 10**6))
def test_disjoint_lists_partition_and_overlap_lists_cover(key: tuple[str, str], seed: int) -> None:
    n_classes = max(IDS[key[0]])
    table = random_presence(60, n_classes, seed)
    unused = [c - 1 for c in range(1, n_classes + 1) if c not in IDS[key[0]]]
    table[:, unused] = False
    expected = np.flatnonzero(table.any(axis=1)).tolist()
    steps = range(len(classes_per_step(*key)))
    lists = {s: [select_images(table, *key, step, s).tolist() for step in steps] for s in SETTINGS[:3]}
    assert sorted(i for part in lists["disjoint"] for i in part) == expected
    assert sorted({i for part in lists["overlap"] for i in part}) == expected
    assert lists["sequential"] == lists["disjoint"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [[1, 2], [3]]\n", "must begin with class 0"),
        ("a: [[0, 1], [1]]\n", r"names classes \[1\] more than once"),
        ("a: [0, 1]\n", "must be a list of steps"),
        ("a: [[0, 300]]\n", "ids 0..254"),
        ("[]\n", "must map task names"),
        ("a: [[0\n", "not valid YAML"),
        (None, "does not exist; run `python -m pipeline.datasets init"),
    ],
)
def test_task_files_are_checked(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "tasks.yaml").write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_tasks(tmp_path)
