"""The original authors' folders, so that a user's existing web data can be read (web_wilss.md 2.8 and 2.9).

`crawl_ingest.path`: one folder per class (`airplane`, `dining_table`, `motor_bike`, ...), the first files in name
order are taken. `crawl_ingest.replay_path`: one folder per source image of the data set, with `image/*.jpg`.
Folders are found by name, where the originals count positions.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.sources.base import Query
from pipeline.crawl_ingest.sources.folder import Folder, Place, existing_folder


class Authors(Folder):
    """Class queries read class folders, caption queries the folder of their source image."""

    name = "authors"

    def __init__(self, settings: CrawlIngest) -> None:
        super().__init__(settings)
        if settings.replay_path:
            self.roots["replay"] = existing_folder(settings.replay_path, self.name, "replay_path")

    def place(self, query: Query) -> Place | None:
        """Return the folder that answers a query, if there is one."""
        if query["kind"] != "caption":
            return super().place(query)
        root, source = self.roots.get("replay"), Path(query["source_image_id"])
        if root is None or len(source.parts) != 1 or source.name == "..":
            return None
        # The filter script of the originals writes flat folders, their label script expects `image/`.
        folder = next((f for f in (root / source / "image", root / source) if f.is_dir()), None)
        return Place("replay", root, folder) if folder else None
