"""Our ingestion beside img2dataset 1.47 on one loopback server, in one run; or its memory over growing lists.

    python3 -m venv /tmp/img2dataset && /tmp/img2dataset/bin/pip install img2dataset==1.47.0
    python -m bench.ingest --peer /tmp/img2dataset/bin/python              # 5,000 JPEGs, both, three rounds
    python -m bench.ingest --memory 5000 50000                             # ours alone, peak memory of each

Both write WebDataset shards of the same JPEGs, keep their bytes, decode every image and take its sha256. Ours also
reads robots.txt, guards addresses, keeps state for resuming, hashes perceptually and drops duplicates. CPU seconds are
those of all processes of a run; what a run of ten images costs (imports) is taken off, and printed. On a machine that
others use too, both take more of it: read the ratios, and the medians.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.artifacts import INGEST, QUERIES, read_rows, write_table
from pipeline.crawl_ingest.fetch.network import ENVIRONMENT
from pipeline.crawl_ingest.fetch.rate_limit import FOLDER

HOSTS, WARM, THREADS = 8, 10, 32
PEER = """
import json, sys
from img2dataset import download
if __name__ == "__main__":
    download(**json.loads(sys.argv[1]))
"""


class Cost(NamedTuple):
    """Of one run: wall and CPU seconds, peak megabytes of all its processes together, images written."""

    wall: float
    cpu: float
    peak: float
    items: int


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="Python of an environment with img2dataset 1.47")
    parser.add_argument("--items", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", type=int, default=400, help="longer side of the JPEGs, pixels")
    parser.add_argument("--memory", type=int, nargs="+", help="sizes of lists to measure our memory at")
    arguments = parser.parse_args()
    if arguments.memory:
        with _server(arguments.side if arguments.side != 400 else 96) as port:
            for size in arguments.memory:
                print(_line(f"ours, {size:,} addresses", _ours(size, port)), flush=True)
        return 0
    with _server(arguments.side) as port:
        _compare(arguments, port)
    return 0


def _compare(arguments: argparse.Namespace, port: int) -> None:
    _fill(port, arguments.items)
    start = {"ours": _ours(WARM, port), "img2dataset": _peer(arguments.peer, WARM, port)}
    for name, cost in start.items():
        print(_line(f"{name}, {WARM} images", cost), flush=True)
    speed, frugality, whole = [], [], []
    for number in range(arguments.rounds):
        ours, peer = _ours(arguments.items, port), _peer(arguments.peer, arguments.items, port)
        print(
            _line(f"round {number + 1}: ours", ours),
            _line(f"round {number + 1}: img2dataset", peer),
            sep="\n",
            flush=True,
        )
        mine, theirs = (cost.cpu - start[name].cpu for name, cost in (("ours", ours), ("img2dataset", peer)))
        speed.append((ours.items / ours.wall) / (peer.items / peer.wall))
        frugality.append((ours.items / mine) / (peer.items / theirs))
        whole.append((ours.items / ours.cpu) / (peer.items / peer.cpu))
        print(f"  CPU seconds per 1,000 images without start: ours {1000 * mine / ours.items:.2f}, "
              f"img2dataset {1000 * theirs / peer.items:.2f}", flush=True)  # fmt: skip
    print(f"ratios ours / img2dataset, median of {arguments.rounds}: images per second {median(speed):.2f}, images per "
          f"CPU second {median(whole):.2f} (without start {median(frugality):.2f})")  # fmt: skip


def _fill(port: int, items: int) -> None:
    # The server makes a picture when it is first asked for: without this the first crawl alone would wait for it.
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for number in range(items):
        connection.request("GET", f"/{number}.jpg")
        connection.getresponse().read()
    connection.close()


def _line(name: str, cost: Cost) -> str:
    return (f"{name}: {cost.items:,} images, {cost.wall:.1f} s ({cost.items / cost.wall:.0f}/s), "
            f"{cost.cpu:.1f} CPU s, peak {cost.peak:.0f} MB")  # fmt: skip


def _ours(items: int, port: int) -> Cost:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _list(folder / "list.parquet", [f"http://h{i % HOSTS}.test/{i}.jpg" for i in range(items)])
        query = {"query_id": "q", "text": "cat", "kind": "class", "class_ids": [1], "source_image_id": "", "shard": 0}
        write_table(folder / "q.parquet", [query], QUERIES)
        settings = {
            "source": "url_list", "path": str(folder / "list.parquet"), "per_class": items, "shards": 1,
            "user_agent": "bench/1.0 (nobody@example.com)", "requests_per_second": 1e6,
            "connections": THREADS, "connections_per_host": THREADS,
        }  # fmt: skip
        out = folder / "pool" / "shards" / "step1-00000.tar"
        words = ["-m", "pipeline.crawl_ingest", "ingest", "--queries", folder / "q.parquet", "--shard", out.stem]
        words += ["--out", out, "--settings", json.dumps({"crawl_ingest": settings})]
        extra = {ENVIRONMENT: f"*.test=127.0.0.1:{port}", FOLDER: str(folder / "hosts")}
        wall, cpu, peak = _run([sys.executable, *map(str, words)], extra)
        kept = sum(row["status"] == "kept" for row in read_rows(out.with_suffix(".parquet"), INGEST))
        return Cost(wall, cpu, peak, kept)


def _peer(python: str, items: int, port: int) -> Cost:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _list(folder / "list.parquet", [f"http://127.0.0.1:{port}/{i}.jpg" for i in range(items)])
        options = {
            "url_list": str(folder / "list.parquet"), "input_format": "parquet", "url_col": "url",
            "caption_col": "text", "output_format": "webdataset", "output_folder": str(folder / "out"),
            "processes_count": 1,
            "thread_count": THREADS, "resize_mode": "no", "skip_reencode": True, "compute_hash": "sha256",
            "enable_wandb": False, "number_sample_per_shard": items,
        }  # fmt: skip
        (folder / "peer.py").write_text(PEER)
        wall, cpu, peak = _run(
            [python, str(folder / "peer.py"), json.dumps(options)], {"NO_ALBUMENTATIONS_UPDATE": "1"}
        )
        done = sum(json.loads(file.read_text())["successes"] for file in (folder / "out").glob("*_stats.json"))
        return Cost(wall, cpu, peak, done)


def _list(path: Path, urls: list[str]) -> None:
    pq.write_table(pa.table({"url": urls, "text": [f"cat {i}" for i in range(len(urls))]}), path)


def _run(words: list[str], extra: dict[str, str]) -> tuple[float, float, float]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **extra}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with tempfile.TemporaryFile() as log:
        running = subprocess.Popen(words, env=environment, stdout=log, stderr=log)
        peak, sampling = [0.0], threading.Thread(target=lambda: _watch(running.pid, peak))
        sampling.start()
        code = running.wait()
        sampling.join()
        if code:
            log.seek(0)
            raise SystemExit(f"{words[:3]} failed:\n{log.read().decode()[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - began, cpu, peak[0]


def _watch(pid: int, peak: list[float]) -> None:
    while True:
        try:
            process = psutil.Process(pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return
            tree = [process, *process.children(recursive=True)]
            peak[0] = max(peak[0], sum(_resident(member) for member in tree) / 2**20)
        except psutil.NoSuchProcess:
            return
        time.sleep(0.1)


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


@contextmanager
def _server(side: int) -> Iterator[int]:
    words = [sys.executable, str(Path(__file__).with_name("image_server.py")), str(side)]
    serving = subprocess.Popen(words, stdout=subprocess.PIPE)
    assert serving.stdout is not None
    try:
        yield int(serving.stdout.readline())
    finally:
        serving.terminate()
        serving.wait()
        serving.stdout.close()


if __name__ == "__main__":
    raise SystemExit(main())
