"""The crawler against the mini web over real HTTP: reasons, politeness, resume."""

import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifacts import INGEST, MANIFEST, TRUTH, read_json, read_table
from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.crawl import ingest
from pipeline.crawl_ingest.fetch.network import ENVIRONMENT
from pipeline.crawl_ingest.plan import write_plan
from pipeline.crawl_ingest.pool.merge import merge
from pipeline.miniweb.server import serving

SETTINGS = CrawlIngest(per_class=26, shards=1, timeout=5.0, base_per_class=8)
EXPECTED = {
    "404": "http_error", "403": "http_error", "410": "http_error", "truncated": "truncated", "html": "not_an_image",
    "svg": "not_an_image", "robots": "robots", "robots_broken": "robots_unreachable", "robots_header": "robots_header",
    "zero_bytes": "empty", "endless": "timeout", "oversized": "too_large", "bomb": "too_many_pixels",
    "redirect_loop": "redirect_limit", "reset": "connection", "icon": "too_small",
}  # fmt: skip


def crawl(site: Path, protocols: list[Path], folder: Path, plan: str, shards: int = 1) -> tuple[list[dict], Any]:
    """Crawl a plan in this process; return the rows and the server."""
    settings = SETTINGS.model_copy(update={"shards": shards})
    queries = folder / "queries" / f"{plan}.parquet"
    write_plan(plan, protocols[0 if plan == "base" else 1], settings, queries)
    rows = []
    with serving(site) as (server, resolve):
        os.environ[ENVIRONMENT] = resolve
        try:
            for number in range(shards):
                out = folder / "shards" / f"{plan}-{number:05d}.tar"
                ingest(queries, out.stem, protocols[0], settings, out)
                rows += read_table(out.with_suffix(".parquet"), INGEST)
        finally:
            del os.environ[ENVIRONMENT]
    return rows, server


@pytest.fixture(scope="module")
def crawled(site: Path, protocols: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("pool")
    rows, server = crawl(site, protocols, folder, "step1")
    base, _ = crawl(site, protocols, folder, "base")
    return folder, rows, base, server


def test_every_fault_ends_in_its_reason(crawled: Any, site: Path) -> None:
    _, rows, base, _ = crawled
    truth = {row["url"]: row for row in read_table(site / "truth.parquet", TRUTH)}
    seen = set()
    for row in rows + base:
        fault = truth[row["url"]]["fault"]
        if row["reason"] == "duplicate_url":
            continue
        if fault in EXPECTED:
            seen.add(fault)
            assert row["reason"] == EXPECTED[fault], (fault, row)
        else:
            assert row["status"] in ("kept", "duplicate"), (fault, row)
    assert len(seen) >= 10


def test_counts_add_up_and_nothing_is_dropped(crawled: Any) -> None:
    folder, rows, _, _ = crawled
    stats = read_json(folder / "shards" / "step1-00000.stats.json")
    counts = Counter(row["reason"] or "kept" for row in rows)
    assert stats.pop("tried") == len(rows) == sum(counts.values())
    assert stats == counts
    with tarfile.open(folder / "shards" / "step1-00000.tar") as tar:
        names = [n for n in tar.getnames() if n.endswith(".jpg")]
        assert names == [f"{row['image_id']}.jpg" for row in rows if row["status"] == "kept"]
        about = json.loads(tar.extractfile(names[0].replace(".jpg", ".json")).read())  # type: ignore[union-attr]
        assert about["licence"] and about["url"].startswith("http://")


def test_image_ids_are_hashes_of_what_is_stored(crawled: Any) -> None:
    import hashlib

    folder, _, _, _ = crawled
    with tarfile.open(folder / "shards" / "step1-00000.tar") as tar:
        for member in tar.getmembers()[::2][:20]:
            data = tar.extractfile(member).read()  # type: ignore[union-attr]
            assert member.name == f"{hashlib.sha256(data).hexdigest()}.jpg"


def test_duplicates_and_evaluation_images_are_caught(crawled: Any, site: Path) -> None:
    _, rows, base, _ = crawled
    truth = {row["url"]: row for row in read_table(site / "truth.parquet", TRUTH)}
    kept = [row for row in rows + base if row["status"] == "kept"]
    planted = [row for row in rows + base if truth[row["url"]]["duplicate_of"] == "evaluation"]
    assert planted and all(row["reason"] == "duplicate_of_evaluation" for row in planted)
    assert not any(truth[row["url"]]["duplicate_of"] == "evaluation" for row in kept)
    assert {"duplicate_exact", "duplicate_near"} & {row["reason"] for row in rows + base}


def test_refused_paths_were_never_requested(crawled: Any) -> None:
    _, rows, _, server = crawled
    refused = [row["url"] for row in rows if row["reason"] == "robots"]
    assert refused and not any(server.asked[url] for url in refused)
    assert server.asked["http://private.miniweb.test/robots.txt"] <= 1


def test_merge_marks_duplicates_across_shards(site: Path, protocols: list[Path], tmp_path: Path) -> None:
    rows, _ = crawl(site, protocols, tmp_path, "step1", shards=3)
    out = tmp_path / "manifest.parquet"
    shards = [tmp_path / "shards" / f"step1-{n:05d}.parquet" for n in range(3)]
    merge(tmp_path / "queries" / "step1.parquet", shards, SETTINGS, out)
    merged = read_table(out, MANIFEST)
    kept = [row["image_id"] for row in merged if row["status"] == "kept"]
    assert len(merged) == len(rows) and len(kept) == len(set(kept))
    assert sum(row["status"] == "kept" for row in rows) >= len(kept)
    assert all(row["class_ids"] and row["query_text"] for row in merged)


def test_finished_items_are_not_asked_for_again(site: Path, protocols: list[Path], tmp_path: Path) -> None:
    first, _ = crawl(site, protocols, tmp_path, "step1")
    for file in (tmp_path / "shards").iterdir():
        file.unlink()
    again, server = crawl(site, protocols, tmp_path, "step1")
    assert again == first
    assert not any(".jpg" in url or "images/?" in url for url in server.asked)


def test_dead_search_service_is_one_clear_line(protocols: list[Path], tmp_path: Path) -> None:
    queries = tmp_path / "q.parquet"
    settings = SETTINGS.model_copy(update={"api": "http://api.nowhere.test/v1/", "retries": 0})
    write_plan("step1", protocols[1], settings, queries)
    os.environ[ENVIRONMENT] = "*.nowhere.test=127.0.0.1:9"
    try:
        with pytest.raises(ValueError, match=r"search http://api.nowhere.test/v1/\?q=\S+ failed: (robots|connection)"):
            ingest(queries, "step1-00000", protocols[0], settings, tmp_path / "shards" / "step1-00000.tar")
    finally:
        del os.environ[ENVIRONMENT]
    assert not (tmp_path / "shards").exists()


def comparable(rows: list[dict]) -> list[dict]:
    return [{k: v for k, v in row.items() if k != "fetched_at"} for row in rows]


def test_kill_and_resume_gives_the_same_rows(crawled: Any, site: Path, protocols: list[Path], tmp_path: Path) -> None:
    _, rows, _, _ = crawled
    queries, out = tmp_path / "queries" / "step1.parquet", tmp_path / "shards" / "step1-00000.tar"
    slow = SETTINGS.model_copy(update={"connections": 4, "connections_per_host": 4, "requests_per_second": 60.0})
    write_plan("step1", protocols[1], slow, queries)
    arguments = ["--queries", str(queries), "--shard", out.stem, "--protocol", str(protocols[0]), "--out", str(out)]
    settings = json.dumps({"crawl_ingest": slow.model_dump()})
    serve = [
        sys.executable,
        "-m",
        "pipeline.miniweb",
        "serve",
        "--root",
        str(site),
        "--log",
        str(tmp_path / "log"),
        "--",
    ]
    command = [*serve, "python", "-m", "pipeline.crawl_ingest", "ingest", *arguments, "--settings", settings]
    rng = random.Random(4)
    kills = 0
    for _ in range(6):
        running = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
        try:
            running.wait(rng.uniform(0.8, 2.0))
            break
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
            kills += 1
            time.sleep(0.1)
            assert not out.exists()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, timeout=120)
    assert kills >= 2
    assert comparable(read_table(out.with_suffix(".parquet"), INGEST)) == comparable(rows)
    assert not list(tmp_path.rglob("*.tmp")) or not list((tmp_path / "shards").glob("*.tmp"))
