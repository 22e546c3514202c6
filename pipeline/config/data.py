"""Sections about data: the data set and its geometry, a model that is taught, and the embedded web site."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from pipeline.config.section import Section


class Datasets(Section):
    """Which data set, which task, which protocol, and the geometry of the transforms."""

    name: Literal["minivoc", "voc", "coco", "coco-voc", "ade", "own", "taught"] = "minivoc"
    """minivoc (drawn), voc, coco, coco-voc, ade, own, taught (`webseg teach` writes it, docs/teach.md)"""
    root: str = "data/minivoc"
    """folder of the data set; VOC's layout is JPEGImages/ SegmentationClassAug/ splits/ (docs/data.md)"""
    task: str = "15-5"
    """15-5, 15-1, 10-10, 19-1, ...: classes of step 0, then classes per step (ciss_methods.md 2.4, 2.5)"""
    setting: Literal["overlap", "disjoint", "sequential", "partition"] = "overlap"
    """overlap, disjoint, sequential (disjoint, old classes stay labelled), partition (ADE20K, ciss_methods.md 2.6)"""
    lists: str = ""
    """folder of train-<step>.npy to use instead of the setting's rule; empty: the rule"""
    subset: bool = False
    """true: the folder is deliberately only a part of the data set, counts are not checked"""
    train_size: int = Field(96, ge=16)
    """side of the training crop after resizing, pixels; 512 in the papers (web_wilss.md 7.4)"""
    eval_size: int = Field(96, ge=16)
    """shorter side and centre crop of evaluation images, pixels; 512 in the papers (web_wilss.md 7.5)"""
    train_area: tuple[float, float] = (0.5, 2.0)
    """least and greatest area of the random resized crop, as a share of the image's (web_wilss.md 7.4)"""
    train_crop: Literal["published", "scale", "ssul"] = "published"
    """published; scale: zoom by 0.5 to 2, then crop, margins void; ssul: margins background (ciss_methods.md 2.2)"""
    eval_crop: Literal["published", "full"] = "published"
    """published: shorter side and centre crop (web_wilss.md 7.5); full: whole images, one by one"""
    label_map: Literal["method", "plop", "mib", "wilson"] = "method"
    """rule that turns ids into labels: the method's own, or plop, mib, wilson for all (ciss_methods.md 2.3)"""
    minivoc_seed: int = 7
    """seed of the drawings; this and the two keys below only matter for minivoc"""
    minivoc_train: int = Field(1500, ge=40)
    """drawn training images; VOC has 10582"""
    minivoc_val: int = Field(300, ge=20)
    """drawn validation images; VOC has 1449"""

    @property
    def key(self) -> str:
        """Name under which tasks are looked up: own data carries its folder, where its tasks.yaml lies."""
        return f"own:{Path(self.root)}" if self.in_a_folder else self.name

    @property
    def in_a_folder(self) -> bool:
        """Whether classes and tasks are those of files under `root`, not of a known data set."""
        return self.name in ("own", "taught")

    @property
    def eval_side(self) -> int | None:
        """Side of the centre crop that is evaluated, None for whole images."""
        return self.eval_size if self.eval_crop == "published" else None


class Teach(Section):
    """A finished model that learns classes by their names; read for datasets.name `taught` alone (docs/teach.md)."""

    model: str = ""
    """model.safetensors of the model that is taught; it is copied, never changed"""
    like: str = ""
    """folder of unlabelled images of the place where the model will work; empty: none"""
    check: str = ""
    """folder with images/, masks/ and classes.txt to measure against; empty: nothing is measured against a truth"""
    held_out: float = Field(0.2, ge=0.05, le=0.5)
    """share of `like` that is not learnt from, on which old and new model are compared"""
    max_forgetting: float = Field(5.0, ge=0)
    """`webseg teach` ends with a warning if old classes lose more IoU points than this on average"""


class MiniWeb(Section):
    """Size and noise of the embedded web site, chosen by us. Truth about it is read by the report alone."""

    seed: int = 11
    """seed of its pictures, texts and faults"""
    images_per_new_class: int = Field(240, ge=4)
    """pictures about a class of a later step"""
    images_per_base_class: int = Field(90, ge=4)
    """pictures about a class of step 0"""
    wrong_class: float = Field(0.5, ge=0, le=1)
    """share of search results that do not show the queried class"""
    off_style: float = Field(0.45, ge=0, le=1)
    """share drawn in a style whose spectrum differs from the data set's"""
    faults: float = Field(0.06, ge=0, le=1)
    """share of addresses with a fault of the open web"""
    duplicates: float = Field(0.05, ge=0, le=1)
    """share of exact and near duplicates"""
