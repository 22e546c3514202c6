"""Rows, names and statistics for whatever the web says: nothing is lost, nothing from the web names a file."""

import hashlib
import io
import json
import resource
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.artifacts import INGEST, MANIFEST, QUERIES, read_rows, read_table, write_table
from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.checks.reasons import DUPLICATE, FAILED, REFUSED, status_of
from pipeline.crawl_ingest.pool.duplicates import HashIndex
from pipeline.crawl_ingest.pool.merge import merge
from pipeline.crawl_ingest.pool.shard import Place, decide, write_shard
from pipeline.crawl_ingest.pool.state import Outcome, PoolState
from pipeline.crawl_ingest.sources.base import candidate

SETTINGS = CrawlIngest(near_duplicate_bits=4, licences=("by", "cc0"))
URLS = st.sampled_from([f"http://a.test/{i}" for i in range(6)]) | st.text(min_size=1, max_size=30)
FOUND = st.builds(
    candidate, url=URLS, page_url=st.text(max_size=9), title=st.text(max_size=20), creator=st.text(max_size=9),
    licence=st.sampled_from(["by 4.0", "cc0 1.0", "by-nc 2.0", "", "../../x"]), source=st.text(max_size=5),
)  # fmt: skip
ENDS = st.sampled_from([*FAILED, *(reason for reason in REFUSED if reason != "licence"), "", "", "", ""])
COMMON = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def state_with(folder: Path, found: list[dict[str, str]], draw: Any) -> PoolState:
    """Return a pool in which every candidate has ended somehow."""
    state = PoolState(folder, "policy")
    for item in found:
        if state.outcome(item["url"]) is not None:
            continue
        reason = draw(ENDS)
        if reason:
            state.finish(Outcome(item["url"], reason))
            continue
        data = bytes([draw(st.integers(0, 3))]) * 10
        image_id = hashlib.sha256(data).hexdigest()
        phash = draw(st.sampled_from(["0" * 16, "0" * 15 + "7", "f" * 16, "0f" * 8]))
        outcome = Outcome(item["url"], "", item["url"], 200, image_id, 64, 64, 10, phash, "2026-11-21T08:00:00+00:00")
        state.finish(outcome, state.spool(data))
    return state


def written_again(path: Path) -> bytes:
    """Return the bytes that the standard library writes for a tar's members."""
    buffer = io.BytesIO()
    with tarfile.open(path) as old, tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as new:
        for member in old:
            info = tarfile.TarInfo(member.name)
            info.size = member.size
            new.addfile(info, old.extractfile(member))
    return buffer.getvalue()


@COMMON
@given(st.lists(FOUND, max_size=25), st.data())
def test_a_row_for_every_candidate_whatever_the_web_says(
    tmp_path_factory: pytest.TempPathFactory, found: list[dict[str, str]], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("pool")
    state, out = state_with(folder, found, data.draw), folder / "shards" / "step1-00000.tar"
    places = (Place("q", rank) for rank in range(len(found)))
    evaluation = HashIndex(4)
    evaluation.add("0f" * 8)
    counts = write_shard(out, decide(zip(places, found, strict=False), state, SETTINGS, evaluation), state)
    state.close()
    rows = read_table(out.with_suffix(".parquet"), INGEST)
    assert [row["url"] for row in rows] == [item["url"] for item in found]
    assert [row["title"] for row in rows] == [item["title"] for item in found]
    assert sum(counts.values()) == len(rows)
    assert json.loads(out.with_suffix(".stats.json").read_text()) == {"tried": len(rows), **counts}
    kept = [row for row in rows if row["status"] == "kept"]
    assert all(row["status"] == status_of(row["reason"]) for row in rows)
    assert all(row["licence"] in ("by 4.0", "cc0 1.0") and row["phash"] != "0f" * 8 for row in kept)
    assert len({row["url"] for row in kept}) == len({row["image_id"] for row in kept}) == len(kept)
    with tarfile.open(out) as tar:
        names = tar.getnames()
    assert names == [f"{row['image_id']}.{end}" for row in kept for end in ("jpg", "json")]
    assert out.read_bytes() == written_again(out)
    assert all(len(name.split(".")[0]) == 64 and set(name.split(".")[0]) <= set("0123456789abcdef") for name in names)


CLOSE = st.sampled_from(["0" * 16, "0" * 15 + "3"])
HASHES = CLOSE | st.integers(0, 2**64 - 1).map(lambda value: f"{value:016x}")
REASONS = st.sampled_from(["", "", "", "robots", "timeout", "duplicate_url"])


@COMMON
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), HASHES, REASONS), max_size=30), st.integers(1, 4))
def test_merging_equals_one_shard_after_the_other(
    tmp_path_factory: pytest.TempPathFactory, items: list[tuple[int, int, str, str]], n_shards: int
) -> None:
    """The manifest against a slow rewrite of its rule, for rows dealt to shards by query."""
    folder = tmp_path_factory.mktemp("merge")
    queries = [{"query_id": f"q{i}", "text": f"t{i}", "kind": "class", "class_ids": [i], "source_image_id": "",
                "shard": i % n_shards} for i in range(3)]  # fmt: skip
    write_table(folder / "q.parquet", queries, QUERIES)
    ranks = [0, 0, 0]
    rows: list[dict[str, Any]] = []
    for query, image, phash, reason in items:
        empty: dict[str, Any] = {name: "" for name in INGEST.names}
        sizes = dict.fromkeys(("http_status", "width", "height", "bytes"), 0)
        image_id = f"image{image}" if reason in ("", "duplicate_url") else ""
        facts = {
            "reason": reason,
            "status": status_of(reason),
            "image_id": image_id,
            "phash": phash if image_id else "",
        }
        rows.append({**empty, **sizes, "query_id": f"q{query}", "rank": ranks[query], **facts})
        ranks[query] += 1
    rows.sort(key=lambda row: (row["query_id"], row["rank"]))
    shards = [folder / f"step1-{number:05d}.parquet" for number in range(n_shards)]
    for number, path in enumerate(shards):
        write_table(path, [row for row in rows if int(row["query_id"][1]) % n_shards == number], INGEST)
    merge(folder / "q.parquet", shards, SETTINGS, folder / "m.parquet")
    kept: list[dict[str, Any]] = []
    for row in rows:
        if row["reason"] == "":
            if any(row["image_id"] == other["image_id"] for other in kept):
                row["reason"] = "duplicate_exact"
            elif any((int(row["phash"], 16) ^ int(other["phash"], 16)).bit_count() <= 4 for other in kept):
                row["reason"] = "duplicate_near"
            else:
                kept.append(row)
    merged = list(read_rows(folder / "m.parquet", MANIFEST))
    assert [(row["query_id"], row["rank"], row["reason"]) for row in merged] == [
        (row["query_id"], row["rank"], row["reason"]) for row in rows
    ]
    assert all(row["status"] == status_of(row["reason"]) for row in merged)
    assert all(row["shard"] == f"step1-{int(row['query_id'][1]) % n_shards:05d}" for row in merged)


def test_more_shards_are_merged_than_files_may_be_open_at_first(tmp_path: Path) -> None:
    empty: dict[str, Any] = {name: "" for name in INGEST.names}
    row = {**empty, **dict.fromkeys(("http_status", "width", "height", "bytes", "rank"), 0), "reason": "robots",
           "status": "refused"}  # fmt: skip
    asked = {"text": "t", "kind": "class", "class_ids": [1], "source_image_id": "", "shard": 0}
    shards = [tmp_path / f"step1-{number:05d}.parquet" for number in range(150)]
    write_table(tmp_path / "q.parquet", [{"query_id": path.stem, **asked} for path in shards], QUERIES)
    for path in shards:
        write_table(path, [{**row, "query_id": path.stem}], INGEST)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, before[1]))
    try:
        merge(tmp_path / "q.parquet", shards, SETTINGS, tmp_path / "m.parquet")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert [row["query_id"] for row in read_rows(tmp_path / "m.parquet", MANIFEST)] == [path.stem for path in shards]


def test_a_hard_limit_of_open_files_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, 100))
    with pytest.raises(ValueError, match="500 shards are open at once, but the system allows 100 files"):
        merge(tmp_path / "q.parquet", [tmp_path / "s.parquet"] * 500, SETTINGS, tmp_path / "m.parquet")


def test_no_reason_is_without_a_meaning() -> None:
    groups = (REFUSED, FAILED, DUPLICATE)
    assert all(text[0].islower() or text.startswith("X-") for group in groups for text in group.values())
