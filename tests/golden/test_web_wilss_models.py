"""Check W45 of web_wilss.md: pooling of the head in evaluation and in training."""

import pytest
import torch

from pipeline.models.pooling import pooled_context

MAP = torch.arange(9, dtype=torch.float64).view(1, 1, 3, 3)


def test_W45_window_of_two() -> None:
    assert pooled_context(MAP, 2, training=False)[0, 0].tolist() == [[2, 3, 3], [5, 6, 6], [5, 6, 6]]


@pytest.mark.parametrize("window", [3, 7])
def test_W45_window_as_large_as_the_map(window: int) -> None:
    assert pooled_context(MAP, window, training=False)[0, 0].tolist() == [[4, 4, 4]] * 3


def test_W45_training() -> None:
    assert pooled_context(MAP, 2, training=True).tolist() == [[[[4]]]]
