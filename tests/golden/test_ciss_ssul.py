"""Checks H1-H5 (SSUL) and A8 (its targets) of ciss_methods.md sections 4.10 and 9."""

import numpy as np
import pytest
import torch

from pipeline.datasets.tasks import label_map
from pipeline.eval import ConfusionMatrix
from pipeline.losses import summed_bce
from pipeline.losses.ssul import (
    complete_with_teacher,
    decide,
    mark_unknown,
    merged_scores,
    sats_targets,
    select_memory,
    to_channels,
)
from tests.golden.inputs import LAB, NEW, S, near, near_single

F32 = torch.float32


def labels(*rows: list[int]) -> torch.Tensor:
    return torch.tensor([rows])


def test_H1_loss() -> None:
    assert summed_bce(NEW, LAB, reduction="mean_valid").item() == near(4.0058289)


def test_H2_pseudo_rule() -> None:
    teacher = (4 * S((1, 5, 2, 4), 0.9, 0.3)).to(F32)
    score, chosen = teacher.sigmoid().max(dim=1)
    assert score.flatten().tolist() == near_single(
        0.97706748, 0.97652711, 0.96931565, 0.81739559, 0.97889064, 0.97848258, 0.97804366, 0.97757246
    )
    assert chosen.flatten().tolist() == [1, 0, 0, 4, 4, 3, 2, 1]
    got = complete_with_teacher(labels([0, 1, 1, 4], [0, 255, 1, 0]), teacher)
    assert got.tolist() == [[[0, 1, 1, 4], [4, 255, 2, 0]]]


def test_H2_threshold_is_inclusive() -> None:
    teacher = torch.zeros(1, 3, 1, 2)
    teacher[0, 2, 0] = torch.logit(torch.tensor([0.7, 0.69], dtype=torch.float64)).float() + 1e-6
    assert complete_with_teacher(labels([0, 1]), teacher).tolist() == [[[2, 1]]]
    score = teacher.sigmoid()[0, 2, 0, 0].item()
    assert complete_with_teacher(labels([0, 1]), teacher, threshold=score).tolist() == [[[2, 1]]]


def test_H3_decision() -> None:
    logits = (3 * S((1, 5, 1, 4), 0.8, 0.2)).to(F32)
    merged = merged_scores(logits)
    assert merged[0, :, 0, 0].tolist() == near_single(0.96195247, 0.71801247, 0.24984533, 0.77911236)
    assert decide(logits).flatten().tolist() == [0, 0, 0, 0]
    assert logits[:, 1:].sigmoid().argmax(dim=1).flatten().tolist() == [3, 3, 1, 1]


def test_H4_rule_released_with_sats() -> None:
    teacher = (4 * S((1, 4, 2, 4), 0.9, 0.3)).to(F32)
    saliency = torch.tensor([[[0.9, 0.2, 0.6, 0.4], [0.5, 0.1, 0.7, 0.3]]])
    got = sats_targets(labels([0, 0, 0, 5], [0, 255, 0, 0]), teacher, saliency)
    assert got.tolist() == [[[0, 0, 0, 5], [3, 255, 2, 0]]]


def test_H4_salient_and_unsure_pixels_become_unknown() -> None:
    teacher = torch.full((1, 4, 1, 4), -1.0)
    teacher[0, 3, 0, 3] = 1
    got = sats_targets(labels([0, 0, 6, 0]), teacher, torch.tensor([[[0.5, 0.4, 0.9, 0.9]]]))
    assert got.tolist() == [[[1, 0, 6, 3]]]


IMAGES = [{1}, {1, 2}, {2}, {1, 3}, {3}, {4, 5}, {5}, {2, 4}, {1}, {3, 5}, {4}, {2}]


def test_H5_memory() -> None:
    assert sorted(select_memory(IMAGES, [1, 2, 3, 4, 5], 7)) == [2, 3, 4, 6, 7, 9, 10]


def test_H5_turns() -> None:
    # Shuffled candidates 2 3 4 10 1 6 0 7 11 9 8 5, class order 5 4 1 3 2 (the check's own words): the first turn
    # takes 6 10 3 4 2; class 5 and class 4 begin the second.
    assert select_memory(IMAGES, [1, 2, 3, 4, 5], 5) == [6, 10, 3, 4, 2]
    assert select_memory(IMAGES, [1, 2, 3, 4, 5], 7) == [6, 10, 3, 4, 2, 9, 7]
    assert select_memory(IMAGES, [1, 2, 3, 4, 5], 7, seed=2) != select_memory(IMAGES, [1, 2, 3, 4, 5], 7)


def test_H5_ends_when_candidates_run_out() -> None:
    assert sorted(select_memory(IMAGES, [1, 2, 3, 4, 5], 100)) == list(range(12))
    assert select_memory([{1}, {9}], [1, 2], 5) == [0]
    assert select_memory([], [1], 3) == []


IDS = [0, 0, 3, 16, 20, 255]
SALIENT = torch.tensor([[[0, 1, 1, 1, 1, 1]]])


def internal(ids: list[int], task: str, step: int, split: str) -> torch.Tensor:
    """Labels (1, 1, W) of mask values; exemplars carry the labels of the test split, every class so far."""
    table = label_map("voc", task, step, split, "plop")  # type: ignore[arg-type]
    return labels(table[np.array(ids)].tolist())


@pytest.mark.parametrize(("step", "expected"), [(0, [1, 0, 4, 0, 0, 255]), (1, [1, 0, 0, 17, 0, 255])])
def test_A8_targets_of_a_step(step: int, expected: list[int]) -> None:
    targets = mark_unknown(to_channels(internal(IDS, "15-1", step, "train")), SALIENT)
    assert targets.tolist() == [[expected]]


def test_A8_targets_of_the_memory() -> None:
    truth = internal(IDS, "15-1", 1, "test")
    assert truth.tolist() == [[[0, 0, 3, 16, 0, 255]]], "the release trains on these, one channel too low"
    shifted = to_channels(truth)
    assert shifted.tolist() == [[[1, 1, 4, 17, 1, 255]]]
    assert mark_unknown(shifted, SALIENT).tolist() == [[[1, 0, 4, 17, 0, 255]]]


def test_A8_test_labels_keep_classes_of_later_steps_which_are_not_counted() -> None:
    target = internal(IDS, "15-1", 5, "test")
    assert target.tolist() == [[[0, 0, 3, 16, 20, 255]]]
    counted = ConfusionMatrix(17).update(target.numpy(), np.zeros((1, 1, 6), np.int64))
    assert counted.counts.sum() == 4, "after step 1 neither 20 nor 255 counts"


def test_A8_shuffled_order_without_salient_pixels() -> None:
    targets = to_channels(internal([0, 17, 12, 255], "15-1_b", 1, "train"))
    assert mark_unknown(targets, torch.zeros(1, 1, 4)).tolist() == [[[1, 17, 1, 255]]]


def test_without_saliency_all_background_is_unknown() -> None:
    assert mark_unknown(to_channels(labels([0, 5, 255]))).tolist() == [[[0, 6, 255]]]
