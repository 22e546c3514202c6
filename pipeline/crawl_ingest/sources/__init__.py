"""Where candidates come from. `open_source` returns the one that the settings name."""

from __future__ import annotations

import os

from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.fetch.downloader import Downloader
from pipeline.crawl_ingest.fetch.network import ENVIRONMENT
from pipeline.crawl_ingest.sources.base import Candidate, Query, SearchError, Source

__all__ = ["Candidate", "Query", "SearchError", "Source", "open_source"]


def open_source(settings: CrawlIngest, downloader: Downloader) -> Source:
    """Return the source of `crawl_ingest.source`.

    Raises SearchError if it lacks something: a key in the environment, a folder, a readable list.
    """
    if settings.source in ("folder", "authors"):
        from pipeline.crawl_ingest.sources.authors import Authors
        from pipeline.crawl_ingest.sources.folder import Folder

        return Authors(settings) if settings.source == "authors" else Folder(settings)
    if "example.org" in settings.user_agent and not os.environ.get(ENVIRONMENT):
        raise SearchError("crawl_ingest.user_agent names no contact yet; the open web must be able to reach you")
    if settings.source == "openverse":
        from pipeline.crawl_ingest.sources.openverse import Openverse

        return Openverse(settings, downloader)
    if settings.source == "commons":
        from pipeline.crawl_ingest.sources.commons import Commons

        return Commons(settings, downloader)
    if settings.source == "flickr":
        from pipeline.crawl_ingest.sources.flickr import Flickr

        return Flickr(settings, downloader)
    from pipeline.crawl_ingest.sources.url_list import UrlList

    return UrlList(settings, downloader)
