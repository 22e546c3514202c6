"""Where the official files are, for the message when one is missing. Nothing is downloaded here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.datasets import DatasetError


@dataclass(frozen=True)
class Source:
    """An official file: its name, size, page, and MD5 where its publisher or torchvision states one."""

    file: str
    size: str
    page: str
    md5: str = ""


VOC = Source(
    "VOCtrainval_11-May-2012.tar",
    "2 GB",
    "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
    "6cd6e144f989b92b3379bac3b3de84fd",
)
SBD = Source(
    "benchmark.tgz",
    "1.4 GB",
    "http://home.bharathh.info/pubs/codes/SBD/download.html",
    "82b4d87ceb2ed10f6038a1cba92111cb",
)
ADE = Source("ADEChallengeData2016.zip", "0.9 GB", "http://sceneparsing.csail.mit.edu/")
COCO_TRAIN = Source("train2017.zip", "18 GB", "https://cocodataset.org/#download")
COCO_VAL = Source("val2017.zip", "1 GB", "https://cocodataset.org/#download")
COCO_STUFF = Source("stuffthingmaps_trainval2017.zip", "0.7 GB", "https://github.com/nightrome/cocostuff")


def missing(path: Path, source: Source, how: str) -> DatasetError:
    """Return the error for a path that an official file brings; `how` says where to unpack it."""
    checksum = f", MD5 {source.md5}" if source.md5 else ""
    return DatasetError(
        f"{path} is missing. Download {source.file} ({source.size}{checksum}) from {source.page} and unpack it {how}"
    )
