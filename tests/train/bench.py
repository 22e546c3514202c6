"""What tests of several files train with: MiniVOC as 15-1, base steps, and steps of any method."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from pipeline.artifacts import TRAIN_LIST, Layout, write_table
from pipeline.config import Config, Datasets, parse_config
from pipeline.datasets.protocol import write_protocol
from pipeline.methods import get
from pipeline.pseudolabel import write_train_list
from pipeline.pseudolabel.listing import Sources
from pipeline.train import engine
from pipeline.train.assemble import Previous, assemble_base, assemble_step
from pipeline.train.engine import train_step

WEAK = {"pseudo_epoch": 2}


@torch.no_grad()
def move_from_teacher(model: nn.Module) -> None:
    """Change every weight a little. With frozen norms a student begins as its teacher, where the distances of PLOP and
    SATS are 0 and have no derivative: rounding would choose the direction of the first iteration.
    """
    random = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=random, dtype=parameter.dtype)
        parameter.add_(0.05 * parameter.abs().mean() * noise)


class Bench:
    """MiniVOC as 15-1, bases trained when first asked for, and steps of any method."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root, self.folder = root, folder
        self.protocols = [folder / f"step{step}.json" for step in range(3)]
        for step, path in enumerate(self.protocols):
            write_protocol(Datasets(root=str(root), task="15-1"), step, path)
        self.base = cache(self._base)
        masks = root / "SegmentationClassAug"
        saliency = Path(Layout(dataset_root=str(root)).saliency(""))
        saliency.mkdir(parents=True, exist_ok=True)
        for path in masks.glob("*.png"):
            found = (np.asarray(Image.open(path)) % 255 > 0).astype(np.uint8) * 255
            Image.fromarray(found).save(saliency / path.name)

    def config(self, backbone: str, method: str = "", **changes: Any) -> Config:
        phase = {"epochs": 6, "iterations": 6, "batch_size": 2, "lr": 0.005, **changes.pop("phase", {})}
        train = {"threads": 1, "tensorboard": False, "checkpoint_every": 2, "base": phase, "step": phase, **changes}
        methods = {method: WEAK} if method and get(method).supervision == "image" else {}
        datasets = {"root": str(self.root), "task": "15-1", "train_size": 64, "eval_size": 64}
        return parse_config({"train": {**train, "backbone": backbone}, "datasets": datasets, "methods": methods})

    def _base(self, recipe: str, backbone: str) -> Path:
        folder = self.folder / backbone / recipe
        write_train_list(self.protocols[0], folder / "train_list.parquet")
        config = self.config(backbone)
        train_step(assemble_base(config, recipe, 0, self.protocols[0], folder / "train_list.parquet", folder))
        return folder

    def list_for(self, method: str, step: int, before: Path, out: Path) -> Path:
        """Write the step's training list: exemplars beside the data set, web images and replay, or all images."""
        cls, path = get(method), out / "train_list.parquet"
        previous = before / "train_list.parquet"
        if cls.supervision == "pixel":
            earlier = tuple(self.protocols[:step]) if cls.sees == "all" else ()
            memory = 0 if earlier else 6
            write_train_list(self.protocols[step], path, Sources(earlier=earlier, memory=memory, previous=previous))
            return path
        rows = write_train_list(self.protocols[step], path)
        web = [{**row, "role": "web", "mask": ""} for row in rows]
        replay = [row for row in write_train_list(self.protocols[0], path) if not {16, 17} & set(row["labels"])][:6]
        replay = [{**row, "role": "replay", "mask": self._old_mask(row["mask"])} for row in replay]
        write_table(path, web + replay, TRAIN_LIST)
        return path

    def _old_mask(self, mask: str) -> str:
        path = self.folder / "old" / Path(mask).name
        path.parent.mkdir(exist_ok=True)
        Image.open(mask).point(lambda v: v if v < 16 else 0).save(path)
        return str(path)

    def step(self, method: str, backbone: str, step: int, before: Path, out: Path, **changes: Any) -> engine.Step:
        out.mkdir(parents=True, exist_ok=True)
        previous = Previous(before / "model.safetensors", before / "method_state.safetensors")
        listed = self.list_for(method, step, before, out)
        config = self.config(backbone, method, **changes)
        return assemble_step(config, method, 0, self.protocols[step], listed, previous, out)
