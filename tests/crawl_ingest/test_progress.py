"""What a crawl tells its user while it runs."""

import functools
import re

import pytest

from pipeline.runtime.progress import Progress
from tests.crawl_ingest.pool import Pool, jpeg
from tests.crawl_ingest.server import RawServer, reply, say


def test_rate_time_left_and_ends_by_reason(
    pool: Pool, raw_server: RawServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pipeline.crawl_ingest.crawl.Progress", functools.partial(Progress, interval=0.0))
    raw_server.answers |= {
        "a.test/1": say(reply(status=404)), "a.test/2": say(reply(b"<html>")), "a.test/3": say(reply(status=410)),
        "a.test/4": say(reply(jpeg(4), X_Robots_Tag="noai")),
    }  # fmt: skip
    pool.ingest()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 6
    for number, line in enumerate(lines, 1):
        assert re.match(rf"ingest step1-00000: {number}/6 addresses, [0-9.]+/s", line), line
    assert all(re.search(r", \d+ s left, \d+ kept", line) for line in lines[1:-1])
    assert lines[-1].endswith("2 kept, 1 refused (1 robots_header), 3 failed (2 http_error, 1 not_an_image)")
