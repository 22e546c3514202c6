"""A SegFormer as a transformers folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.datasets.imagenet import MEAN, STD
from pipeline.models import SegmentationModel
from pipeline.models.mix_transformer import MixTransformer
from pipeline.models.segformer_head import OfficialHead
from pipeline.predict.network import Model

_BODY = (
    (r"embedding\.proj", "patch_embeddings.proj"),
    (r"embedding\.norm", "patch_embeddings.layer_norm"),
    (r"norm1", "layernorm_before"),
    (r"norm2", "layernorm_after"),
    (r"attn\.q", "attention.q_proj"),
    (r"attn\.proj", "attention.o_proj"),
    (r"attn\.sr", "attention.sequence_reduction.sequence_reduction"),
    (r"attn\.norm", "attention.sequence_reduction.layer_norm"),
    (r"mlp\.dwconv", "mlp.dwconv.dwconv"),
    (r"mlp\.(fc[12])", r"mlp.\1"),
    (r"norm", "layer_norm"),
)
"""Our name of a part of a stage or block -> the library's."""


def write_transformers(model: Model, folder: Path) -> Any:
    """Write a SegFormer and its image processor by `save_pretrained`; return the library's network.

    A model that came from a transformers folder is saved as it is. One of ours needs the official head and a decision
    by the best channel: the library knows no other. Its layer norms add 1e-5 to the variance where ours add 1e-6, so
    logits differ a little; the export measures by how much. Raises ValueError for another network.
    """
    from transformers import SegformerImageProcessor

    body: Any = model.network.body
    if model.kind == "transformers":
        body.save_pretrained(folder)
        processor = model.path / "preprocessor_config.json"
        if processor.is_file():
            (folder / processor.name).write_bytes(processor.read_bytes())
        return body
    converted: Any = _converted(model)
    converted.save_pretrained(folder)
    SegformerImageProcessor(do_resize=False, image_mean=list(MEAN), image_std=list(STD)).save_pretrained(folder)
    return converted


def _converted(model: Model) -> nn.Module:
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    ours = model.network.body
    _check(model, ours)
    assert isinstance(ours, SegmentationModel) and isinstance(ours.body, MixTransformer)
    assert isinstance(ours.head, OfficialHead)
    size, names = ours.body.size, dict(enumerate(model.class_names))
    config = SegformerConfig(
        hidden_sizes=list(size.dims), depths=list(size.depths), num_attention_heads=list(size.heads),
        sr_ratios=list(size.reductions), mlp_ratios=[size.mlp_ratio] * 4, decoder_hidden_size=ours.head.channels,
        id2label=names, label2id={name: number for number, name in names.items()},
    )  # fmt: skip
    theirs: nn.Module = SegformerForSemanticSegmentation(config).eval()
    theirs.load_state_dict(_tensors(ours))
    return theirs


def _check(model: Model, ours: Any) -> None:
    if not isinstance(ours, SegmentationModel) or not isinstance(ours.body, MixTransformer):
        raise ValueError(f"{model.path} is {model.architecture}; only a SegFormer can become a transformers folder")
    if not isinstance(ours.head, OfficialHead):
        raise ValueError(
            f"{model.path} has SATS's head, which transformers' SegFormer cannot express; export onnx, or train with "
            "train.backbone_options: {head: official}"
        )
    if ours.classifier != "linear" or sum(ours.classes_per_step) != len(model.class_names):
        raise ValueError(f"{model.path} decides with an unknown class, which transformers cannot express; export onnx")


def _tensors(ours: SegmentationModel) -> dict[str, Tensor]:
    """Return our tensors under the library's names."""
    made: dict[str, Tensor] = {}
    for name, value in ours.body.state_dict().items():
        for key, part in _stage_tensor(name, value):
            made[f"segformer.{key}"] = part
    for name, value in ours.head.state_dict().items():
        first, rest = name.split(".", 1)
        if first == "stages":
            stage, kind = rest.split(".")
            made[f"decode_head.linear_projections.{stage}.proj.{kind}"] = (
                value.flatten(1) if kind == "weight" else value
            )
        else:
            made[f"decode_head.{ {'fuse': 'linear_fuse', 'norm': 'batch_norm'}[first] }.{rest}"] = value
    for kind in ("weight", "bias"):
        parts = [getattr(classifier, kind) for classifier in ours.classifiers]
        made[f"decode_head.classifier.{kind}"] = torch.cat(parts)
    return made


def _stage_tensor(name: str, value: Tensor) -> list[tuple[str, Tensor]]:
    match = re.fullmatch(r"(stages\.\d+(?:\.blocks\.\d+)?)\.(.+)\.(weight|bias)", name)
    assert match is not None, name
    place, part, kind = match.groups()
    if part == "attn.kv":
        key, content = value.chunk(2)
        return [(f"{place}.attention.k_proj.{kind}", key), (f"{place}.attention.v_proj.{kind}", content)]
    for pattern, theirs in _BODY:
        if re.fullmatch(pattern, part):
            return [(f"{place}.{re.sub(pattern, theirs, part)}.{kind}", value)]
    raise AssertionError(f"{name} has no place in transformers' SegFormer")
