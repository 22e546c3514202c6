"""Small models with random weights, each written by the library it belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from pipeline.models import build_model, save_model

NAMES = ("background", "road", "tree", "sky")


def shaken(model: nn.Module, weights: float = 0.0) -> nn.Module:
    """Give every norm's scale, shift and statistics and every bias a random value, so that none is a constant.

    `weights` is the deviation of what is added to all other tensors.
    """
    random = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                noise = torch.randn(value.shape, generator=random)
                scale = 0.1 if value.ndim == 1 else weights
                value.copy_(noise.abs() * 0.3 + 0.7 if name.endswith("running_var") else value + scale * noise)
    return model.eval()


def write_step(
    folder: Path,
    method: str = "ft",
    sizes: tuple[int, ...] = (16, 5),
    kind: str = "linear",
    backbone: str = "small_cnn",
    settings: dict[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """Write a step folder as the training stage does, of VOC's 15-5 after `step` (default 1)."""
    torch.manual_seed(1)
    options = changes.pop("options", None)
    model = shaken(build_model(backbone, sizes, kind, options))
    about = {"dataset": "minivoc", "task": "15-5", "setting": "overlap", "step": 1, "order": list(range(21))}
    about |= {"seed": 0, "method": method, "pipeline": "0.1.0", **changes}
    save_model(folder / "model.safetensors", model, {k: v for k, v in about.items() if v is not None})
    if settings is not None:
        (folder / "config.yaml").write_text(yaml.safe_dump({"method": method, "settings": settings}))
    return folder


def write_segformer(folder: Path, processor: bool = True, side: int = 64) -> Path:
    """Write a small SegFormer and its image processor by transformers' own `save_pretrained`."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessor

    torch.manual_seed(2)
    config = SegformerConfig(
        hidden_sizes=[8, 16, 20, 32], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 5, 8], decoder_hidden_size=24,
        id2label=dict(enumerate(NAMES)), label2id={name: i for i, name in enumerate(NAMES)},
    )  # fmt: skip
    shaken(SegformerForSemanticSegmentation(config), 0.1).save_pretrained(folder)
    if processor:
        size = {"height": side, "width": side}
        mean, std = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]
        SegformerImageProcessor(size=size, image_mean=mean, image_std=std).save_pretrained(folder)
    return folder


def write_classifier(folder: Path) -> Path:
    """Write an image classifier by transformers' own `save_pretrained`."""
    from transformers import SegformerConfig, SegformerForImageClassification

    sizes = {"hidden_sizes": [8, 16, 20, 32], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 2, 5, 8]}
    SegformerForImageClassification(SegformerConfig(**sizes)).save_pretrained(folder)
    return folder


def write_torchvision(path: Path, architecture: str, n_classes: int = 4, names: bool = True) -> nn.Module:
    """Save a torchvision network's state dict by torch.save; return the network."""
    from torchvision.models import get_model

    torch.manual_seed(3)
    auxiliary = {} if architecture.startswith("lraspp") else {"aux_loss": True}
    model: nn.Module = get_model(
        architecture, weights=None, weights_backbone=None, num_classes=n_classes, **auxiliary
    ).eval()
    if architecture.startswith("lraspp"):
        shaken(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), path)
    if names:
        path.with_name(f"{path.name}.classes.txt").write_text("\n".join(NAMES[:n_classes]) + "\n")
    return model
