"""Check A9 (quota of the exemplar memory) of ciss_methods.md section 9."""

import pytest

from pipeline.datasets.memory import exemplar_quota
from pipeline.datasets.tasks import order


@pytest.mark.parametrize(
    ("dataset", "task", "steps", "expected"),
    [
        ("voc", "15-1", range(1, 6), [20, 19, 18, 17, 16]),
        ("voc", "10-1", [1], [30]),
        ("ade", "100-50", [1], [3]),
        ("ade", "100-10", [1], [3]),
        ("ade", "100-5", [1], [3]),
    ],
)
def test_A9_quota(dataset: str, task: str, steps: list[int], expected: list[int]) -> None:
    old_foreground = [len(order(dataset, task, step - 1)) - 1 for step in steps]
    assert [exemplar_quota(300, n) for n in old_foreground] == expected


def test_quota_of_small_and_empty_budgets() -> None:
    assert [exemplar_quota(budget, 15) for budget in (0, 1, 15, 16)] == [0, 1, 1, 2]
    with pytest.raises(ValueError, match="must not be negative"):
        exemplar_quota(-1, 3)
    with pytest.raises(ValueError, match="0 old foreground classes"):
        exemplar_quota(300, 0)
