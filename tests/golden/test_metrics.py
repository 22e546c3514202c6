"""Checks W48, W49 (web_wilss.md 11) and J3, J4 (ciss_methods.md 9)."""

import csv
import io

import numpy as np
import pytest

from pipeline.eval import ConfusionMatrix
from pipeline.eval.step_means import step_means


def test_W48_three_classes_with_void() -> None:
    matrix = ConfusionMatrix(3).update(np.array([[0, 0, 1], [1, 255, 2]]), np.array([[0, 1, 1], [1, 0, 0]]))
    assert matrix.counts.tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 0]]
    scores = matrix.scores(old=[0, 1], new=[2])
    assert scores["iou"] == pytest.approx([0.333333, 0.666666, 0], abs=1e-5)
    assert scores["all"] == pytest.approx(0.333333, abs=1e-5)
    assert scores["overall_accuracy"] == pytest.approx(0.6)
    assert scores["mean_accuracy"] == pytest.approx(0.5, abs=1e-5)
    assert scores["mean_precision"] == pytest.approx(0.388889, abs=1e-5)
    assert scores["old"] == pytest.approx(0.666666, abs=1e-5)
    assert scores["new"] == 0
    assert scores["all_no_background"] == pytest.approx(0.333333, abs=1e-5)


def test_W49_class_without_ground_truth_is_left_out() -> None:
    matrix = ConfusionMatrix(4).update(np.array([[0, 0, 1], [1, 255, 2]]), np.array([[0, 1, 1], [1, 0, 3]]))
    scores = matrix.scores(old=[0, 1, 2], new=[3])
    assert scores["iou"][:3] == pytest.approx([0.5, 0.666666, 0], abs=1e-5)
    assert np.isnan(scores["iou"][3])
    assert np.isnan(scores["new"])
    assert scores["all"] == pytest.approx(0.388889, abs=1e-5)
    assert scores["mean_precision"] == pytest.approx(0.416666, abs=1e-5)


def test_J3_four_classes() -> None:
    matrix = ConfusionMatrix(4)
    matrix.update(np.array([[0, 0, 1, 1]]), np.array([[0, 1, 1, 1]]))
    matrix.merge(ConfusionMatrix(4).update(np.array([[2, 2, 255, 0]]), np.array([[2, 0, 3, 3]])))
    assert matrix.counts.tolist() == [[1, 1, 0, 1], [0, 2, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    scores = matrix.scores(old=[0, 1], new=[2])
    assert scores["iou"][:3] == pytest.approx([0.25, 0.666666, 0.5], abs=1e-5)
    assert scores["all"] == pytest.approx(0.472222, abs=1e-5)
    assert scores["overall_accuracy"] == pytest.approx(0.571429, abs=1e-5)
    assert scores["mean_accuracy"] == pytest.approx(0.611111, abs=1e-5)
    assert scores["frequency_weighted_iou"] == pytest.approx(0.440476, abs=1e-5)
    assert (scores["iou"][0] + scores["new"]) / 2 == pytest.approx(0.375, abs=1e-5)


STEPS = """0,.9,.8,.7,x,x,.8
1,.9,.6,.5,.4,x,.6
2,.8,.5,.4,.3,.2,.44
"""


def test_J4_means_over_steps() -> None:
    rows = [[None if cell == "x" else float(cell) for cell in row] for row in csv.reader(io.StringIO(STEPS))]
    classes = [row[1:-1] for row in rows]
    means = step_means(classes, n_first=3)
    assert means["all"] == pytest.approx(44.0)
    assert [round(means[key], 2) for key in ("avg", "first", "last")] == [61.33, 56.67, 25.0]
    for row, known in zip(rows, classes, strict=True):
        assert step_means([known], n_first=3)["all"] == pytest.approx(100 * row[-1])


def test_J4_without_background_and_with_a_class_that_never_occurs() -> None:
    table = [[0.9, 0.8, None, None], [0.8, 0.5, None, 0.3]]
    assert step_means(table, 3, "mib") == pytest.approx({"all": 40, "avg": 60, "first": 50, "last": 30}, abs=1e-9)
    assert step_means(table, 3)["first"] == pytest.approx(65)
    assert np.isnan(step_means(table[:1], 4)["last"])
    with pytest.raises(ValueError, match=r"rows of \[1, 2\] classes"):
        step_means([[0.1], [0.1, 0.2]], 1)


def test_prediction_outside_the_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="class 7"):
        ConfusionMatrix(3).update(np.array([1]), np.array([7]))


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="shape"):
        ConfusionMatrix(3).update(np.array([1, 2]), np.array([1]))
