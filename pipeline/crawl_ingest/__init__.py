"""Queries, polite download, content checks, duplicates and shards. `python -m pipeline.crawl_ingest --help`."""

from pipeline.runtime.lazy import lazy_names

STAGE_VERSION = 5

__getattr__ = lazy_names(
    __name__,
    {
        "ingest": "crawl",
        "write_plan": "plan",
    },
)
