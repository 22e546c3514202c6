"""Turns of a host shared by processes: together they are as slow as one, and a kill leaves nothing held."""

import asyncio
import multiprocessing as mp
import os
import signal
import struct
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from pipeline.crawl_ingest.fetch.rate_limit import FOLDER, Pace
from tests.crawl_ingest.pool import Pool
from tests.crawl_ingest.server import RawServer, reply

TURNS = """
import asyncio, sys, time
from pipeline.crawl_ingest.fetch.rate_limit import Pace
async def main():
    pace = Pace("a.test", float(sys.argv[1]), 1.0, 4)
    for _ in range(int(sys.argv[2])):
        async with pace.connection():
            await pace.turn()
            print(time.monotonic(), flush=True)
asyncio.run(main())
"""
HOLD = """
import asyncio
from pipeline.crawl_ingest.fetch.rate_limit import Pace
async def main():
    pace = Pace("a.test", 0.001, 1.0, 2)
    async with pace.connection(), pace.connection():
        print("held", flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


def test_processes_share_the_turns_of_a_host() -> None:
    words = [sys.executable, "-c", TURNS, "0.05", "8"]
    running = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    moments = sorted(float(line) for process in running for line in process.communicate(timeout=60)[0].split())
    assert len(moments) == 24
    # A turn is slept for and then printed, so single gaps shrink by what one print comes late.
    assert moments[-1] - moments[0] > 23 * 0.05 * 0.95
    assert sum(b - a > 0.03 for a, b in pairwise(moments)) >= 20


def test_hosts_do_not_wait_for_each_other() -> None:
    async def run() -> float:
        began = time.monotonic()
        await asyncio.gather(*(Pace(f"{i}.test", 5.0, 1.0, 1).turn() for i in range(10)))
        return time.monotonic() - began

    assert asyncio.run(run()) < 1.0


def test_a_burst_and_then_the_pace() -> None:
    async def run() -> list[float]:
        pace, moments = Pace("a.test", 0.05, 4.0, 8), []
        for _ in range(8):
            await pace.turn()
            moments.append(time.monotonic())
        return [moment - moments[0] for moment in moments]

    moments = asyncio.run(run())
    assert moments[3] < 0.05 and moments[7] == pytest.approx(0.2, abs=0.06)


def test_connections_are_shared_and_a_killed_process_holds_none() -> None:
    async def take() -> float:
        began = time.monotonic()
        async with Pace("a.test", 0.001, 1.0, 2).connection():
            return time.monotonic() - began

    holder = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(take(), 0.3))
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    assert asyncio.run(asyncio.wait_for(take(), 5)) < 1.0


def test_a_pause_that_one_process_was_told_binds_the_other() -> None:
    Pace("a.test", 0.001, 1.0, 2).rest(0.4)

    async def run() -> float:
        began = time.monotonic()
        await Pace("a.test", 0.001, 4.0, 2).turn()
        return time.monotonic() - began

    assert asyncio.run(run()) > 0.3


@pytest.mark.parametrize("held", [b"", b"xx", struct.pack("d", 1e12), struct.pack("d", float("nan"))])
def test_a_turn_from_before_a_restart_is_forgotten(own_hosts: Path, held: bytes) -> None:
    pace = Pace("a.test", 0.01, 1.0, 1)
    asyncio.run(pace.turn())
    (file,) = (f for f in own_hosts.iterdir() if "." not in f.name)
    file.write_bytes(held)
    asyncio.run(asyncio.wait_for(Pace("a.test", 0.01, 1.0, 1).turn(), 2))


def test_names_of_hosts_are_no_names_of_files(own_hosts: Path) -> None:
    asyncio.run(Pace("../../etc/passwd", 0.01, 1.0, 1).turn())
    assert all(file.parent == own_hosts for file in own_hosts.rglob("*")) and len(list(own_hosts.iterdir())) == 1


def _crawl(resolve: str, hosts: str, first: int) -> None:
    os.environ |= {"PIPELINE_RESOLVE": resolve, FOLDER: hosts}
    from pipeline.config import CrawlIngest
    from pipeline.crawl_ingest.fetch.downloader import Downloader

    async def run() -> None:
        settings = CrawlIngest(requests_per_second=20.0, connections_per_host=2, timeout=5.0)
        async with Downloader(settings) as downloader:
            await asyncio.gather(*(downloader.fetch(f"http://a.test/{first + i}") for i in range(15)))

    asyncio.run(run())


def test_two_crawls_at_once_are_as_polite_as_one(raw_server: RawServer, own_hosts: Path) -> None:
    """As the host sees it: two processes of 15 requests each, 20 a second and 2 connections for both together."""
    fork = mp.get_context("spawn")
    crawls = [fork.Process(target=_crawl, args=(raw_server.resolve, str(own_hosts), n * 100)) for n in range(2)]
    for crawl in crawls:
        crawl.start()
    for crawl in crawls:
        crawl.join(60)
        assert crawl.exitcode == 0
    times = sorted(raw_server.times["a.test"])[2:]
    assert len(times) == 30 and raw_server.most["a.test"] <= 2 + 2, "robots.txt may be read beside"
    assert times[-1] - times[0] > 27 / 20 * 0.9


def test_all_hosts_together_keep_to_the_global_cap(raw_server: RawServer, tmp_path: Path) -> None:
    running = busiest = 0

    async def answer(writer: asyncio.StreamWriter) -> None:
        nonlocal running, busiest
        running += 1
        busiest = max(busiest, running)
        await asyncio.sleep(0.05)
        running -= 1
        writer.write(reply(b"no image"))

    raw_server.default = answer
    pool = Pool(tmp_path, connections=3, connections_per_host=2)
    urls = [f"http://{host}.test/{i}" for i in range(3) for host in "abcdefgh"]
    (tmp_path / "list.csv").write_text("\n".join(["url,text", *(f"{url},cat" for url in urls)]))
    pool.settings = pool.settings.model_copy(update={"timeout": 20.0})
    assert pool.ingest() == ["not_an_image"] * 24 and busiest == 3
