"""Checks E1-E7 (entropy, thresholds, pseudo-labels) of ciss_methods.md section 9."""

import math

import pytest
import torch

from pipeline.losses import cross_entropy, local_pod
from pipeline.losses.pseudo_labels import (
    UncertaintyHistogram,
    adaptive_factor,
    entropy_thresholds,
    normalised_entropy,
    pseudo_targets,
)
from tests.golden.inputs import OLD, S, near, near_single

F32 = torch.float32
TEACHER = (6 * S((2, 3, 4, 4), 1.3, 0.2)).to(F32)
LABELS = torch.tensor([0, 0, 3, 3]).expand(2, 4, 4).contiguous()
PUBLISHED = [0.01, 0.001, 0.0075, 0.001, 0.001]


def counts(teacher: torch.Tensor, labels: torch.Tensor, n_total: int) -> torch.Tensor:
    histogram = UncertaintyHistogram(teacher.shape[1], n_total)
    histogram.update(teacher, labels)
    return histogram.counts


def test_E1_entropy() -> None:
    p = OLD.softmax(dim=1)
    assert normalised_entropy(p).flatten().tolist() == near(0.28752227, 0.22969410, 0.21881593, 0.22185552)
    assert normalised_entropy(p, 5).flatten().tolist() == near(0.17864763, 0.14271697, 0.13595798, 0.13784659)
    true = normalised_entropy(p, kind="sum").flatten().tolist()
    assert true == near(0.86256684, 0.68908233, 0.65644783, 0.66556659)
    assert normalised_entropy(torch.full((1, 4, 1, 1), 0.25, dtype=torch.float64)).item() == near(0.25)


def test_E2_toy_uncertainty() -> None:
    u = normalised_entropy(TEACHER.softmax(dim=1), 5)
    assert u[0, 0].tolist() == near_single(0.01951949, 0.00072777, 0.12675934, 0.00108213)


def test_E3_normaliser() -> None:
    p = TEACHER.double().softmax(dim=1)
    ratio = (normalised_entropy(p) / normalised_entropy(p, 5)).unique()
    assert ratio.tolist() == near(*[1.6094379] * len(ratio))


def test_E3_histograms_and_thresholds() -> None:
    rows = counts(TEACHER, LABELS, 5)
    assert rows.sum(dim=1).tolist() == [2, 8, 6]
    assert rows[0, :2].tolist() == [1, 1]
    assert rows[1, :8].tolist() == [3, 2, 0, 0, 0, 1, 0, 1] and rows[1, 12:].sum() == 1
    assert rows[2, :2].tolist() == [4, 1] and rows[2, 12:].sum() == 1
    assert entropy_thresholds(rows, 5).tolist() == near_single(*PUBLISHED)
    assert entropy_thresholds(rows, 5, "exact").tolist() == near_single(0.01, 0.015, 0.0075, 0.001, 0.001)


def test_E4_pseudo_labels() -> None:
    got = pseudo_targets(LABELS, TEACHER, torch.tensor(PUBLISHED), 5)
    assert got[0].tolist() == [[255, 0, 3, 3], [255, 255, 3, 3], [2, 255, 3, 3], [2, 255, 3, 3]]
    assert got[1].tolist() == [[255, 255, 3, 3], [255, 255, 3, 3], [2, 255, 3, 3], [255, 2, 3, 3]]


def test_E5_adaptive_factor() -> None:
    got = pseudo_targets(LABELS, TEACHER, torch.tensor(PUBLISHED), 5)
    assert adaptive_factor(LABELS, got, 3, epsilon=0).tolist() == near_single(0.375, 0.25)
    exact = pytest.approx([0.37499997, 0.24999997], abs=2e-8)
    assert adaptive_factor(LABELS, got, 3).tolist() == exact
    assert adaptive_factor(LABELS, got, 3, floor=0.3).tolist() == near_single(0.375, 0.3)


def spread() -> torch.Tensor:
    k = torch.arange(10_000, dtype=torch.float64)
    logits = torch.stack([4 * (k % 997) / 997, torch.zeros_like(k)])
    return logits.view(1, 2, 100, 100).to(F32)


def test_E6_spread_class() -> None:
    rows = counts(spread(), torch.zeros(1, 100, 100, dtype=torch.int64), 3)
    published = entropy_thresholds(rows, 3)
    assert published[0] == math.inf and published[1:].tolist() == near_single(0.001, 0.001)
    assert entropy_thresholds(rows, 3, infinite=0.005).tolist() == near_single(0.005, 0.001, 0.001)
    assert entropy_thresholds(rows, 3, "exact").tolist() == near_single(0.2411111, 0.001, 0.001)


def test_E7_full_plop_step() -> None:
    labels = LABELS.clone()
    labels[..., 3] = 4
    labels[0, 3, 3] = 255
    z = (2 * S((2, 5, 4, 4), 0.9, 0.4)).to(F32)
    thresholds = entropy_thresholds(counts(TEACHER, labels, 5), 5)
    got = pseudo_targets(labels, TEACHER, thresholds, 5)
    pixels = cross_entropy(z, got, reduction="none")
    classification = (adaptive_factor(labels, got, 3)[:, None, None] * pixels).mean()
    assert classification.item() == near_single(0.4515679)
    # The specification's unweighted 1.4373879 contradicts its own inputs: the same pixel map, summed
    # independently, gives 1.4733497 and 1.4025191 per image. Both published totals below and above agree.
    assert pixels.mean(dim=(1, 2)).tolist() == near_single(1.4733497, 1.4025191)
    student = [S((2, 2, 4, 4), 0.52, 0.15), S((2, 3, 4, 4), 0.31, 0.22), S((2, 5, 4, 4), 0.23, 0.1)]
    teacher = [S((2, 2, 4, 4), 0.5, 0.1), S((2, 3, 4, 4), 0.3, 0.2), S((2, 3, 4, 4), 0.21, 0.3)]
    pod = local_pod([m.to(F32) for m in student], [m.to(F32) for m in teacher], growth=5 / 2)
    assert pod.item() == near_single(0.04232069)
    assert (classification + pod).item() == near_single(0.4938886)


def test_histogram_adds_up_over_batches_and_ignores_labelled_pixels() -> None:
    histogram = UncertaintyHistogram(3, 5)
    for image in (0, 1):
        histogram.update(TEACHER[image : image + 1], LABELS[image : image + 1])
    assert torch.equal(histogram.counts, counts(TEACHER, LABELS, 5))
    before = histogram.counts.clone()
    histogram.update(TEACHER, torch.full_like(LABELS, 255))
    assert torch.equal(histogram.counts, before)


def row(**bins: int) -> torch.Tensor:
    counted = torch.zeros(1, 100, dtype=torch.int64)
    for name, count in bins.items():
        counted[0, int(name[1:])] = count
    return counted


@pytest.mark.parametrize(
    ("counted", "infinite", "expected"),
    [
        (row(b5=8), None, 0.001),  # no bin accepted, half below the offset of the last bin: -inf
        (row(b5=8), 0.005, 0.001),  # SATS raises to the floor before it replaces what is infinite
        (row(b2=4), None, 0.0225),  # bin 2 starts at offset 0 + 1: 0.02 + 0.01 (2 - 1) / 4
        (row(b4=2), None, 0.001),  # empty bin 2 starts at offset 1 = half: 0/0 is no evidence
    ],
)
def test_published_median_at_its_edges(counted: torch.Tensor, infinite: float | None, expected: float) -> None:
    assert entropy_thresholds(counted, 1, infinite=infinite).item() == near_single(expected)


def test_exact_median_of_a_full_scale_histogram() -> None:
    assert entropy_thresholds(row(b50=10), 1, "exact").item() == near_single(0.505)


def test_an_infinite_threshold_accepts_everything() -> None:
    got = pseudo_targets(LABELS, TEACHER, torch.full((5,), math.inf), 5)
    assert torch.equal(got, torch.where(LABELS == 0, TEACHER.argmax(dim=1), LABELS))


def test_a_batch_without_old_pixels_has_no_factor() -> None:
    labels = torch.full((1, 2, 2), 3)
    assert adaptive_factor(labels, labels, 3).tolist() == [0.0]


def test_wrong_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match="maen"):
        normalised_entropy(TEACHER, kind="maen")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="1 classes"):
        normalised_entropy(TEACHER[:, :1])
    with pytest.raises(ValueError, match="median"):
        entropy_thresholds(row(b1=1), 1, "mode")  # type: ignore[arg-type]
