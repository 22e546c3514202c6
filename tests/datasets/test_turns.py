"""Dealing in turns."""

from pipeline.datasets.turns import in_turns


def test_every_group_has_its_turn_and_the_longest_goes_on_alone() -> None:
    assert in_turns([["a", "b", "c"], [], ["d"], ["e", "f"]]) == ["a", "d", "e", "b", "f", "c"]
    assert in_turns([]) == []
    assert in_turns([[0, None], [None]]) == [0, None, None], "None is an item like any other"
