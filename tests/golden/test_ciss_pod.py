"""Checks D1-D6 (POD) of ciss_methods.md section 9."""

import numpy as np
import pytest
import torch

from pipeline.losses import local_pod
from pipeline.losses.pod import fold_new_channels, pod_distance, pod_embedding
from pipeline.methods import Batch, Forward, StepInfo, get, settings_of
from pipeline.models.network import Output
from tests.golden.inputs import S, near

TEACHER = [S((1, 2, 4, 4), 0.5, 0.1), S((1, 3, 4, 4), 0.3, 0.2)]
STUDENT = [S((1, 2, 4, 4), 0.52, 0.15), S((1, 5, 4, 4), 0.33, 0.4)]


def test_D1_embedding() -> None:
    phi = pod_embedding(S((1, 1, 4, 4), 1, 0))[0]
    assert phi.shape == (56,)
    assert phi[:8].tolist() == near(
        0.47297210, -0.33453892, -0.03563365, 0.38112233, -0.07600429, 0.17870806, 0.26911704, 0.11210106
    )
    assert phi[24:28].tolist() == near(0, 0, 0.84147098, 0.84147098)


@pytest.mark.parametrize(("shape", "size"), [((2, 3, 8, 8), 336), ((1, 2, 6, 6), 136)])
def test_D2_sizes(shape: tuple[int, ...], size: int) -> None:
    assert pod_embedding(S(shape, 1, 0)).shape == (shape[0], size)


def test_D2_rows_beyond_the_last_cell_count_at_the_coarser_scales_alone() -> None:
    maps = S((1, 2, 6, 6), 1, 0)
    other = maps.clone()
    other[..., 4:, :], other[..., 4:] = 7, 7
    # 24 + 48 entries of scales 1 and 2, whose cells are 6 and 3 pixels wide, then 64 of scale 4 with cells of one.
    same = (pod_embedding(maps) == pod_embedding(other))[0]
    assert same[72:].all() and not same[:24].any() and not same[24:72].all()


def test_D3_left_over_rows_are_dropped() -> None:
    phi = pod_embedding(S((1, 2, 6, 6), 1, 0))[0]
    assert phi.sum().item() == near(5.9355805)
    assert phi[-4:].tolist() == near(0.83665564, 0.43616476, 0.83665564, 0.43616476)


def test_D4_layers() -> None:
    assert pod_distance(STUDENT[0], TEACHER[0]).item() == near(2.4172702)
    assert pod_distance(fold_new_channels(STUDENT[1], 3), TEACHER[1]).item() == near(6.1950772)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"growth": 5 / 2}, 0.021559019),
        ({}, 0.013635119),
        ({"growth": 17}, 0.056219041),
        ({"growth": 5 / 2, "factor": 0.001, "logits_factor": 0.00001}, 0.0019599963),
        ({"growth": 5 / 2, "fold": "trim"}, 0.021560479),
    ],
)
def test_D4_totals(options: dict, expected: float) -> None:
    assert local_pod(STUDENT, TEACHER, **options).item() == near(expected)


def test_D5_batch() -> None:
    value = local_pod([S((2, 2, 4, 4), 0.52, 0.15)], [S((2, 2, 4, 4), 0.5, 0.1)], factor=1)
    assert value.item() == near(3.9128857)


@pytest.mark.parametrize(("pooling", "expected"), [("spatial", 1.7162423), ("global", 1.7420312)])
def test_D6_other_poolings(pooling: str, expected: float) -> None:
    assert local_pod(STUDENT[:1], TEACHER[:1], factor=1, pooling=pooling).item() == near(expected)  # type: ignore[arg-type]


def test_gradient_is_finite_where_student_and_teacher_agree() -> None:
    student = TEACHER[0].clone().requires_grad_()
    local_pod([student], TEACHER[:1]).backward()
    assert torch.equal(student.grad, torch.zeros_like(student))


def test_maps_of_any_aspect_and_maps_smaller_than_a_scale() -> None:
    assert pod_embedding(S((1, 1, 4, 8), 1, 0)).shape == (1, (4 + 8) + 4 * (2 + 4) + 16 * (1 + 2))
    assert pod_embedding(S((1, 1, 3, 3), 1, 0)).shape == (1, 6 + 4 * 2)


@pytest.mark.parametrize(
    ("student", "options", "message"),
    [
        (STUDENT[:1], {}, "got 1 and 2"),
        ([STUDENT[0][:, :1], STUDENT[1]], {}, r"student \(1, 1, 4, 4\), teacher \(1, 2, 4, 4\)"),
        (STUDENT, {"pooling": "locl"}, "locl"),
        (STUDENT, {"fold": "add"}, "add"),
    ],
)
def test_wrong_inputs_say_what_is_wrong(student: list, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        local_pod(student, TEACHER, **options)


def released_cells(maps: torch.Tensor) -> list[float]:
    """The embedding of one map as 4.9.1 words it, by loops: the width is used for both axes."""
    _, channels, height, width = maps.shape
    x, phi = maps[0].tolist(), []
    for scale in (1, 2, 4):
        k = width // scale
        for i in range(scale):
            for j in range(scale):
                rows, columns = range(i * k, min((i + 1) * k, height)), range(j * k, (j + 1) * k)
                phi += [sum(x[c][r][q] for q in columns) / k for c in range(channels) for r in rows]
                phi += [sum(x[c][r][q] for r in rows) / len(rows) for c in range(channels) for q in columns]
    return phi


@pytest.mark.parametrize(("height", "width"), [(9, 4), (4, 6), (5, 5)])
def test_cells_of_maps_that_are_not_square(height: int, width: int) -> None:
    maps = S((1, 2, height, width), 1, 0)
    by_width = pod_embedding(maps, cut="width")[0].tolist()
    assert by_width == near(*released_cells(maps))
    assert (pod_embedding(maps)[0].tolist() == by_width) is (height == width)
    assert local_pod([maps], [maps + 1], cut="width").item() == pytest.approx(
        0.01 * np.linalg.norm(np.subtract(released_cells(maps**2), released_cells((maps + 1) ** 2))), rel=1e-5
    )


def test_a_flat_map_has_empty_cells_by_width() -> None:
    with pytest.raises(ValueError, match="8 wide and 3 high, so that the lowest of 2 rows of cells 4 high are empty"):
        pod_embedding(S((1, 1, 3, 8), 1, 0), cut="width")
    with pytest.raises(ValueError, match="unknown POD cut `height`, expected sides or width"):
        pod_embedding(S((1, 1, 4, 4), 1, 0), cut="height")  # type: ignore[arg-type]


@pytest.mark.parametrize("cut", ["sides", "width"])
def test_plop_cuts_as_its_setting_says(cut: str) -> None:
    maps, other = (S((1, 2, 9, 4), 1, b) for b in (0, 0.5))
    old, new = S((1, 4, 9, 4), 0.3, 0.1), S((1, 6, 9, 4), 0.3, 0.2)
    method = get("plop")(settings_of("plop", {"pod_cut": cut}), StepInfo("voc", "15-5", 2, (3, 1, 2), 3, 1))
    method.load_state({"thresholds": torch.full((6,), 0.1)}, resumed=True)
    batch = Batch(
        S((1, 3, 9, 4), 1, 0), torch.zeros(1, 9, 4, dtype=torch.long), torch.zeros(1, 5), ("a",), ("dataset",)
    )
    student, teacher = Output(new, maps, (maps,), ()), Output(old, other, (other,), ())
    found = method.losses(Forward(batch, student, teacher, epoch=0))["pod"].item()

    def distance(a: torch.Tensor, b: torch.Tensor) -> float:
        if cut == "width":
            return float(np.linalg.norm(np.subtract(released_cells(a**2), released_cells(b**2))))
        return float((pod_embedding(a**2) - pod_embedding(b**2)).norm())

    folded = fold_new_channels(new, 4)
    expected = np.sqrt(6 / 2) * (0.01 * distance(maps, other) + 0.0005 * distance(folded, old)) / 2
    assert found == pytest.approx(expected, rel=1e-5)
