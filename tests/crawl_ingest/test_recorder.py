"""Downloads are recorded together, and none is called recorded before it is."""

import asyncio
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.pool.duplicates import MIN_RECENT, SeenTexts
from pipeline.crawl_ingest.pool.recorder import TOGETHER, Download, Recorder
from pipeline.crawl_ingest.pool.state import Outcome, PoolState

SETTINGS = CrawlIngest()


def jpeg(seed: int) -> bytes:
    values = np.random.default_rng(seed).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "JPEG")
    return buffer.getvalue()


def downloads(count: int) -> list[Download]:
    """Every third answer is no image, every fifth request had no answer."""
    bodies = [b"<html>" if i % 3 == 2 else jpeg(i) for i in range(count)]
    return [
        Download(Outcome(f"http://a.test/{i}", "timeout")) if i % 5 == 4
        else Download(Outcome(f"http://a.test/{i}", "", f"http://a.test/{i}", 200), body)
        for i, body in enumerate(bodies)
    ]  # fmt: skip


async def record_all(recorder: Recorder, items: Sequence[Download], seen: PoolState) -> list[str]:
    async def one(item: Download) -> str:
        reason = await recorder.record(item)
        # Another process, such as the run after a kill -9, knows it at this moment.
        known = seen.outcome(item.outcome.url, check=True)
        assert known is not None and known.reason == reason
        return reason

    return await asyncio.gather(*(one(item) for item in items))


def test_what_returns_is_recorded_and_many_share_a_transaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, seen, sizes = PoolState(tmp_path, "p"), PoolState(tmp_path, "p"), []
    finish_all = PoolState.finish_all

    def counted(self: PoolState, finished: Sequence[tuple[Outcome, object]]) -> None:
        sizes.append(len(finished))
        finish_all(self, finished)  # type: ignore[arg-type]

    monkeypatch.setattr(PoolState, "finish_all", counted)
    items = downloads(50)
    with Recorder(SETTINGS, state) as recorder:
        reasons = asyncio.run(record_all(recorder, items, seen))
    assert reasons == ["timeout" if i % 5 == 4 else "not_an_image" if i % 3 == 2 else "" for i in range(50)]
    assert sum(sizes) == 50 and max(sizes) == TOGETHER and len(sizes) <= 50 / TOGETHER + 2
    kept = [item.outcome for item in items if item.outcome.reason == ""]
    assert all(state.read(outcome.image_id) == jpeg(int(outcome.url.rpartition("/")[2])) for outcome in kept)
    assert all(item.body is None for item in items if item.recorded)
    state.close()
    seen.close()


def test_a_full_disk_ends_the_crawl_and_records_nothing_of_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: PoolState, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    state = PoolState(tmp_path, "p")
    monkeypatch.setattr(PoolState, "spool", full)
    with Recorder(SETTINGS, state) as recorder, pytest.raises(OSError, match="No space left"):
        asyncio.run(record_all(recorder, downloads(20), state))
    assert state.outcome("http://a.test/0") is None
    state.close()


def test_seen_texts_beyond_the_recent_ones() -> None:
    seen = SeenTexts()
    texts = [f"http://h{i % 7}.test/{i}.jpg" for i in range(2 * MIN_RECENT + 300)]
    for text in texts:
        assert text not in seen
        seen.add(text)
    assert all(text in seen for text in texts) and "http://h0.test/none.jpg" not in seen
