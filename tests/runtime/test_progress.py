"""The time left that long work foretells."""

import io

import pytest

from pipeline.runtime import progress
from pipeline.runtime.progress import Progress


def test_the_first_item_s_own_cost_is_not_foretold(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    said = io.StringIO()
    work = Progress("filter", 1001, "files", interval=2.0, stream=said)
    for seconds in (60.0, 2.0, 2.0):  # an index is built before the first file
        now[0] += seconds
        work.update()
    now[0] += 2.0
    work.update(998)
    first, second, third, last = said.getvalue().splitlines()
    assert first == "filter: 1/1001 files, 0.0/s", "nothing is known of the others yet"
    assert second.endswith(", 1998 s left")
    assert third.endswith(", 1996 s left") and last.endswith("(66.0 s)")


def test_resumed_work_foretells_by_what_it_did_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    said = io.StringIO()
    work = Progress("crawl", 100, stream=said)
    work.start_from(50)
    for _ in range(2):
        now[0] += 3.0
        work.update(10)
    assert said.getvalue().splitlines()[-1] == "crawl: 70/100 images, 3.3/s, 9 s left"
