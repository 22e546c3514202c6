"""How many requests a taught experiment says that it sends."""

import pytest

from pipeline.config import CrawlIngest, parse_config
from pipeline.teach.web import has_contact, open_web, requests

CRAWL = {"api": "", "base_per_class": 30, "per_class": 30, "per_caption": 30, "replay_queries": 7, "page_size": 20}


def test_plans_that_ask_for_equally_many_are_all_counted() -> None:
    config = parse_config({"crawl_ingest": CRAWL, "teach": {"like": "photos"}})
    found = requests(config, n_old=3, n_new=2)
    assert (found.searches, found.downloads) == (2 * (3 + 2 + 7), 30 * (3 + 2 + 7))


def test_without_images_base_classes_are_not_crawled_and_old_ones_are_asked_for_once() -> None:
    found = requests(parse_config({"crawl_ingest": CRAWL}), n_old=3, n_new=2)
    assert (found.searches, found.downloads) == (2 * (2 + 3), 30 * (2 + 3))


@pytest.mark.parametrize(
    ("crawl", "leaves"),
    [
        ({"api": ""}, True),
        ({"source": "commons"}, True),
        ({"source": "url_list", "path": "x.csv"}, True),
        ({"source": "folder", "path": "x"}, False),
        ({}, False),
    ],
)
def test_what_leaves_this_machine(crawl: dict[str, str], leaves: bool) -> None:
    assert open_web(parse_config({"crawl_ingest": crawl})) is leaves


@pytest.mark.parametrize(
    ("agent", "known"), [("me (me@lab.org)", True), ("me (https://lab.org)", True), ("bot", False)]
)
def test_a_contact_is_an_address(agent: str, known: bool) -> None:
    assert has_contact(CrawlIngest(user_agent=agent)) is known
    assert not has_contact(CrawlIngest())
