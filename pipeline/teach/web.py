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
    queries = {crawl.base_per_class: n_old, crawl.per_class: 0, crawl.per_caption: 0}
    queries[crawl.per_class] += n_new
    queries[crawl.per_caption] += crawl.replay_queries if config.teach.like else n_old
    searches = sum(-(-wanted // crawl.page_size) * count for wanted, count in queries.items())
    downloads = sum(wanted * count for wanted, count in queries.items())
    if crawl.source == "url_list":
        searches = 0
    service = crawl.api if crawl.api and crawl.source == "openverse" else SERVICES.get(crawl.source, crawl.source)
    return Requests(service, searches, downloads)
