"""Checks W32-W35 of web_wilss.md: the interleaved sampler."""

import pytest

from pipeline.train.sampler import InterleaveSampler


def test_W32_one_process() -> None:
    sampler = InterleaveSampler(5, 3, shuffle=False)
    assert sampler.global_order() == [0, 5, 1, 6, 2, 7, 3, 5, 4, 6]
    assert list(sampler) == [0, 5, 1, 6, 2, 7, 3, 5, 4, 6, 0, 5]
    assert len(sampler) == 12


def test_W33_two_processes() -> None:
    first, second = (InterleaveSampler(5, 2, 2, rank, shuffle=False) for rank in (0, 1))
    assert first.global_order() == [0, 1, 5, 6, 2, 3, 5, 6, 4, 0, 5, 6]
    assert list(first) == [0, 5, 2, 5, 4, 5, 0, 5]
    assert list(second) == [1, 6, 3, 6, 0, 6, 1, 6]


def test_W34_larger_second_set() -> None:
    sampler = InterleaveSampler(2, 7, 2, shuffle=False)
    assert sampler.global_order() == [0, 1, 2, 3, 0, 1, 4, 5, 0, 1, 6, 7, 0, 1, 8, 2]


def test_W35_lengths() -> None:
    assert len(InterleaveSampler(2145, 17388, 2).global_order()) == 34_776
    sampler = InterleaveSampler(2145, 1500, 2)
    assert len(sampler.global_order()) == 4_292
    assert len(sampler) == 2_148
    assert len(list(sampler)) == 2_148


@pytest.mark.parametrize(("n_first", "n_second", "world"), [(7, 12, 1), (12, 7, 2), (5, 5, 3)])
def test_W35_shuffled(n_first: int, n_second: int, world: int) -> None:
    order = InterleaveSampler(n_first, n_second, world, seed=3).global_order()
    pulls = -(-max(n_first, n_second) // world) * 2 * world
    larger = range(n_first, n_first + n_second) if n_second > n_first else range(n_first)
    assert set(larger) <= set(order[:pulls])
    for rank in range(world):
        dealt = list(InterleaveSampler(n_first, n_second, world, rank, seed=3))
        assert [index >= n_first for index in dealt] == [i % 2 == 1 for i in range(len(dealt))]


def test_epochs_differ_and_repeat() -> None:
    sampler = InterleaveSampler(6, 4, seed=1)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    sampler.set_epoch(0)
    assert list(sampler) == first != second


def test_one_pass_over_the_first_set() -> None:
    sampler = InterleaveSampler(4, 100, length="first")
    assert sorted(i for i in sampler.global_order() if i < 4) == [0, 1, 2, 3]


def test_empty_set_is_refused() -> None:
    with pytest.raises(ValueError, match="5 and 0"):
        InterleaveSampler(5, 0)


@pytest.mark.parametrize("batch_size", [2, 3, 5])
def test_batches_of_any_size_hold_both_sets_in_turn(batch_size: int) -> None:
    order = list(InterleaveSampler(7, 4, seed=2))
    for start in range(0, len(order), batch_size):
        batch = [index >= 7 for index in order[start : start + batch_size]]
        assert abs(2 * sum(batch) - len(batch)) <= 1


def test_processes_together_read_what_one_reads() -> None:
    dealt = [list(InterleaveSampler(9, 5, 3, rank, seed=4)) for rank in range(3)]
    order = InterleaveSampler(9, 5, 3, seed=4).global_order()
    together = [index for turn in zip(*dealt, strict=True) for index in turn]
    assert together[: len(order)] == order
