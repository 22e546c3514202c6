"""What a taught experiment will ask of the open web, and of whom."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.config import Config, CrawlIngest
from pipeline.config.plans import mini_web

_LOCAL = ("folder", "authors")
SERVICES = {
    "openverse": "api.openverse.org",
    "commons": "commons.wikimedia.org",
    "flickr": "api.flickr.com",
    "url_list": "the hosts of your list",
}


@dataclass(frozen=True)
class Requests:
    """Upper bounds: searches of the service, and downloads from whatever hosts it names."""

    service: str
    searches: int
    downloads: int

    def lines(self) -> list[str]:
        """Return what the user should know before agreeing."""
        return [
            f"This sends at most {self.searches} search requests to {self.service} and downloads at most "
            f"{self.downloads} images from the hosts that it names; robots.txt and rates are obeyed (docs/web.md).",
        ]


def open_web(config: Config) -> bool:
    """Return whether the crawl leaves this machine."""
    return not mini_web(config) and config.crawl_ingest.source not in _LOCAL


def has_contact(crawl: CrawlIngest) -> bool:
    """Return whether the crawler names somebody who can be asked."""
    return crawl.user_agent != CrawlIngest().user_agent and ("@" in crawl.user_agent or "http" in crawl.user_agent)


def requests(config: Config, n_old: int, n_new: int) -> Requests:
    """Return bounds for `n_old` classes that the model knows and `n_new` that it learns, background left out."""
    crawl = config.crawl_ingest
    photos = bool(config.teach.like)
    queries = [
        (n_old if photos else 0, crawl.base_per_class),
        (n_new, crawl.per_class),
        (crawl.replay_queries if photos else n_old, crawl.per_caption),
    ]
    searches = sum(count * -(-wanted // crawl.page_size) for count, wanted in queries)
    downloads = sum(count * wanted for count, wanted in queries)
    if crawl.source == "url_list":
        searches = 0
    service = crawl.api if crawl.api and crawl.source == "openverse" else SERVICES.get(crawl.source, crawl.source)
    return Requests(service, searches, downloads)
