"""A small mini web with every fault on it, built once and served by the real server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest

from pipeline.artifacts import TRUTH, read_table
from pipeline.config import MiniWeb
from pipeline.crawl_ingest.fetch.network import connector
from pipeline.datasets.protocol_file import ImageRecord
from pipeline.datasets.readers.class_names import VOC as VOC_NAMES
from pipeline.miniweb.drawing import draw_scene
from pipeline.miniweb.server import MiniWebServer, serving
from pipeline.miniweb.site import build_site, read_index
from tests.protocols import protocol_at

BASE, NEW = [3, 8, 12], [17, 20]
SETTINGS = MiniWeb(
    seed=5, images_per_new_class=24, images_per_base_class=16, wrong_class=0.3, off_style=0.4, faults=0.3,
    duplicates=0.25,
)  # fmt: skip


def write_protocols(folder: Path) -> list[Path]:
    """Write the protocols of two steps with six drawn evaluation images and return their paths."""
    val = []
    for number in range(6):
        path = folder / f"val{number}.jpg"
        classes = [BASE[number % 3]]
        draw_scene(np.random.default_rng((99, number)), classes).image.save(path, quality=92)
        val.append(ImageRecord(path.stem, str(path), "", tuple(classes)))
    paths = []
    for step in (0, 1):
        order = (0, *BASE, *NEW) if step else (0, *BASE)
        values = {"step": step, "classes_per_step": ((0, *BASE), tuple(NEW)), "order": order, "val": tuple(val)}
        values["class_names"] = {c: name for c, name in enumerate(VOC_NAMES) if c}
        paths.append(protocol_at(folder / f"step{step}.json", **values))
    return paths


class Site:
    """The built site: its folder, protocols, index and truth, both by address."""

    def __init__(self, root: Path, protocols: list[Path]) -> None:
        self.root, self.protocols = root, protocols
        self.entries: list[dict[str, Any]] = read_index(root)
        self.by_url = {entry["url"]: entry for entry in self.entries}
        self.truth = {row["url"]: row for row in read_table(root / "truth.parquet", TRUTH)}

    def bytes_of(self, url: str) -> bytes:
        """Return the stored image behind an address."""
        return (self.root / "images" / self.by_url[url]["file"]).read_bytes()

    def with_fault(self, fault: str) -> str:
        """Return the first address with a fault."""
        return next(url for url, entry in self.by_url.items() if entry["fault"] == fault)


@pytest.fixture(scope="session")
def two_steps(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_protocols(tmp_path_factory.mktemp("protocols"))


@pytest.fixture(scope="session")
def web_site(tmp_path_factory: pytest.TempPathFactory, two_steps: list[Path]) -> Site:
    root = tmp_path_factory.mktemp("miniweb") / "site"
    build_site(root, SETTINGS, two_steps)
    return Site(root, two_steps)


@pytest.fixture
def served(web_site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[MiniWebServer]:
    with serving(web_site.root) as (server, resolve):
        monkeypatch.setenv("PIPELINE_RESOLVE", resolve)
        yield server


@pytest.fixture
def browse() -> Callable[[Callable[[aiohttp.ClientSession], Awaitable[Any]]], Any]:
    """Return a function that runs a coroutine function with a client that finds *.miniweb.test."""
    import asyncio

    def run(visit: Callable[[aiohttp.ClientSession], Awaitable[Any]]) -> Any:
        async def inside() -> Any:
            timeout = aiohttp.ClientTimeout(total=20)
            async with aiohttp.ClientSession(connector=connector(16, 16), timeout=timeout) as session:
                return await visit(session)

        return asyncio.run(inside())

    return run
