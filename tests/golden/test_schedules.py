"""Checks W46 (web_wilss.md), J1 and J2 (ciss_methods.md)."""

import pytest

from pipeline.train.schedules import poly, warm_poly, warmup_poly


def test_W46_poly_and_constant_phase() -> None:
    expected = [
        0.01,
        0.009095,
        0.008181,
        0.007254,
        0.006314,
        0.005359,
        0.004384,
        0.003384,
        0.002349,
        0.001259,
    ]
    assert [0.01 * poly(k, 10) for k in range(10)] == pytest.approx(expected, abs=1e-6)
    assert [0.01 * warmup_poly(k, 10, 3) for k in range(5)] == pytest.approx(
        [0.01, 0.01, 0.01, 0.007254, 0.006314], abs=1e-6
    )
    assert warmup_poly(5, 40, 5) == pytest.approx(0.886762, abs=1e-6)


def test_J1_poly() -> None:
    got = [0.01 * poly(i, 100) for i in (0, 1, 10, 50, 99)]
    assert got == pytest.approx([0.01, 0.0099099548, 0.0090953258, 0.0053588673, 0.00015848932], rel=2e-6)


def test_J2_warm_poly() -> None:
    got = [0.05 * warm_poly(i, 100, 10) for i in (0, 1, 5, 10, 50, 99)]
    expected = [0.00005, 0.0049995722, 0.023896007, 0.045476629, 0.026794337, 0.00079244660]
    assert got == pytest.approx(expected, rel=2e-6)
