"""kill -9 in the middle of a crawl: the same rows and bytes, and hardly a request twice."""

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.artifacts import INGEST, QUERIES, read_table, write_table
from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.fetch.network import ENVIRONMENT
from tests.crawl_ingest.server import RawServer, reply, say, serving
from tests.protocols import protocol_at

CONNECTIONS = 8
SETTINGS = CrawlIngest(
    api="http://api.test/v1/images/", shards=1, connections=CONNECTIONS, connections_per_host=4, timeout=20.0, retries=1
)


def populate(server: RawServer, n_queries: int, per_query: int) -> set[str]:
    """Give the server so many queries of so many addresses; return the addresses."""
    rng = np.random.default_rng(0)
    addresses = set()
    pages = -(-per_query // 20)
    for query in range(n_queries):
        names = [f"h{i % 3}.test/{query}-{i}.jpg" for i in range(per_query)]
        addresses |= set(names)
        results = [{"url": f"http://{name}", "license": "by"} for name in names]
        for page in range(1, pages + 1):
            answer = {"page_count": pages, "results": results[(page - 1) * 20 : page * 20]}
            server.answers[f"api.test/v1/images/?q=class{query}&page={page}&page_size=20"] = say(
                reply(json.dumps(answer).encode())
            )
        for i, name in enumerate(names):
            buffer = io.BytesIO()
            values = rng.integers(0, 255, (9, 12, 3), dtype=np.uint8)
            Image.fromarray(values).resize((96, 72), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=85)
            faulty = {7: reply(status=404), 8: reply(b"<html>"), 9: reply(buffer.getvalue()[:900])}
            server.answers[name] = say(b"", faulty.get(i % 10, reply(buffer.getvalue())), pause=0.015)
    return addresses


def command(folder: Path, n_queries: int, per_query: int) -> list[str]:
    """Write the plan into a folder and return the command that crawls it."""
    crawl = {**SETTINGS.model_dump(), "per_class": per_query}
    rows = [
        {"query_id": f"q{i}", "text": f"class{i}", "kind": "class", "class_ids": [i + 1], "source_image_id": "",
         "shard": 0}
        for i in range(n_queries)
    ]  # fmt: skip
    write_table(folder / "queries.parquet", rows, QUERIES)
    protocol_at(folder / "step0.json")
    arguments = ["--queries", folder / "queries.parquet", "--shard", "step1-00000", "--protocol", folder / "step0.json"]
    settings = ["--settings", json.dumps({"crawl_ingest": crawl})]
    out = ["--out", folder / "shards" / "step1-00000.tar"]
    return [sys.executable, "-m", "pipeline.crawl_ingest", "ingest", *map(str, [*arguments, *out, *settings])]


def result(folder: Path) -> tuple[list[dict[str, Any]], bytes]:
    table, tar = folder / "shards" / "step1-00000.parquet", folder / "shards" / "step1-00000.tar"
    return [{**row, "fetched_at": ""} for row in read_table(table, INGEST)], tar.read_bytes()


def kill_after(
    server: RawServer, addresses: set[str], words: list[str], more: int, environment: dict[str, str]
) -> None:
    """Start a crawl and kill it once the server has been asked `more` further times."""
    goal = sum(server.asked[a] for a in addresses) + more
    running = subprocess.Popen(words, env=environment, start_new_session=True, stderr=subprocess.DEVNULL)
    while sum(server.asked[a] for a in addresses) < goal:
        assert running.poll() is None, "the crawl ended before it could be killed"
        time.sleep(0.002)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()


SIZES = [(6, 40, 3, 60), pytest.param(20, 100, 20, 95, marks=pytest.mark.slow)]


@pytest.mark.parametrize(("n_queries", "per_query", "kills", "apart"), SIZES)
def test_a_killed_crawl_resumes_item_by_item(
    n_queries: int, per_query: int, kills: int, apart: int, tmp_path: Path
) -> None:
    """Kill -9 at random moments; the end equals the uninterrupted crawl, and hardly anything is asked twice."""
    rng = random.Random(3)
    with serving() as server:
        addresses = populate(server, n_queries, per_query)
        environment = {**os.environ, ENVIRONMENT: server.resolve}
        words = command(tmp_path / "killed", n_queries, per_query)
        for _ in range(kills):
            kill_after(server, addresses, words, rng.randint(10, apart), environment)
            assert not list((tmp_path / "killed").glob("shards/*"))
        run(words, environment)
        repeated = sum(server.asked[a] - 1 for a in addresses)
        assert all(server.asked[a] for a in addresses)
        assert repeated <= kills * CONNECTIONS
        print(f"{kills} kills, {len(addresses)} addresses, {repeated} requests repeated")
        before = server.asked.copy()
        for path in (tmp_path / "killed" / "shards").iterdir():
            path.unlink()
        run(words, environment)
        assert server.asked == before, "a finished crawl asked again"
        run(command(tmp_path / "straight", n_queries, per_query), environment)
    assert result(tmp_path / "killed") == result(tmp_path / "straight")
    rows = result(tmp_path / "killed")[0]
    assert {row["status"] for row in rows} == {"kept", "failed"} and len(rows) == n_queries * per_query


def run(words: list[str], environment: dict[str, str]) -> None:
    subprocess.run(words, env=environment, check=True, stderr=subprocess.DEVNULL, timeout=300)
