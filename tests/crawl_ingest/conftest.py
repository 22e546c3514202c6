"""A misbehaving server on loopback, and a folder of host files of each test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.crawl_ingest.fetch.network import ENVIRONMENT
from pipeline.crawl_ingest.fetch.rate_limit import FOLDER
from tests.crawl_ingest.pool import Pool, jpeg
from tests.crawl_ingest.server import RawServer, reply, say, serving


@pytest.fixture(autouse=True)
def own_hosts(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tests share no turns with each other or with crawls of this machine."""
    folder = tmp_path_factory.mktemp("hosts")
    monkeypatch.setenv(FOLDER, str(folder))
    return folder


@pytest.fixture
def raw_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[RawServer]:
    """Every host under `.test` is this server."""
    with serving() as server:
        monkeypatch.setenv(ENVIRONMENT, server.resolve)
        yield server


@pytest.fixture
def pool(raw_server: RawServer, tmp_path: Path) -> Pool:
    for i in range(6):
        raw_server.answers[f"a.test/{i}"] = say(reply(jpeg(i)))
    return Pool(tmp_path)
