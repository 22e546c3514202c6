"""Networks of the original repositories, rebuilt from other libraries under the originals' names."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MIT_NAMES = (
    ("patch_embeddings.proj", "patch_embed{}.proj"),
    ("patch_embeddings.layer_norm", "patch_embed{}.norm"),
    ("layernorm_before", "norm1"),
    ("layernorm_after", "norm2"),
    ("attention.q_proj", "attn.q"),
    ("attention.o_proj", "attn.proj"),
    ("attention.sequence_reduction.sequence_reduction", "attn.sr"),
    ("attention.sequence_reduction.layer_norm", "attn.norm"),
    ("blocks.", "block{}."),
    ("layer_norm.", "norm{}."),
)
"""Names of transformers' SegFormer -> those of the SegFormer authors; `{}` is the stage."""


def perturb(module: nn.Module) -> None:
    """Move every parameter and running statistic away from its start, so that none stands for another."""
    with torch.no_grad():
        for value in module.parameters():
            value.add_(0.05 * torch.randn_like(value))
        for name, value in module.named_buffers():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2)
            elif name.endswith("running_mean"):
                value.normal_()


class SsulNetwork(nn.Module):
    """SSUL's: torchvision's ResNet-101 at stride 16 and its ASPP, one small network per classifier."""

    def __init__(self, sizes: list[int]) -> None:
        from torchvision.models import resnet101
        from torchvision.models._utils import IntermediateLayerGetter
        from torchvision.models.segmentation.deeplabv3 import ASPP

        super().__init__()
        whole = resnet101(replace_stride_with_dilation=[False, False, True])
        self.backbone = IntermediateLayerGetter(whole, {"layer4": "out"})
        heads = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(256, 256, 3, padding=1, bias=False), nn.BatchNorm2d(256), nn.ReLU(), nn.Conv2d(256, n, 1)
            )
            for n in sizes
        )
        self.classifier = nn.ModuleDict({"aspp": ASPP(2048, [6, 12, 18]), "head": heads})

    def forward(self, images: Tensor) -> Tensor:
        features = self.classifier["aspp"](self.backbone(images)["out"])
        return torch.cat([head(features) for head in self.classifier["head"]], dim=1)


class SatsNetwork(nn.Module):
    """SATS's: transformers' encoder with the depths of B2 and the linear decoder of the release."""

    def __init__(self, sizes: list[int]) -> None:
        from transformers import SegformerConfig, SegformerModel

        super().__init__()
        dims = (64, 128, 320, 512)
        config = SegformerConfig(
            hidden_sizes=dims, depths=(3, 4, 6, 3), num_attention_heads=(1, 2, 5, 8), attn_implementation="eager"
        )
        self.encoder = SegformerModel(config)
        for stage in self.encoder.stages:
            for norm in (stage.layer_norm, *(n for b in stage.blocks for n in (b.layernorm_before, b.layernorm_after))):
                norm.eps = 1e-6
        self.to_fused = nn.ModuleList(nn.Conv2d(dim, 256, 1) for dim in dims)
        self.to_segmentation = nn.Conv2d(4 * 256, 256, 1)
        self.cls = nn.ModuleList(nn.Conv2d(256, n, 1) for n in sizes)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.encoder(images, output_hidden_states=True).hidden_states
        pairs = enumerate(zip(self.to_fused, maps, strict=True))
        fused = [F.interpolate(conv(x), scale_factor=2**stage) for stage, (conv, x) in pairs]
        decoded = self.to_segmentation(torch.cat(fused, dim=1))
        return torch.cat([classifier(decoded) for classifier in self.cls], dim=1)

    def published(self) -> dict[str, Tensor]:
        """Return the tensors under the names of SATS's release."""
        state = {f"body.mit.{name}": value for name, value in mit_names(self.encoder.stages).items()}
        for key, value in self.state_dict().items():
            if key.startswith("to_fused."):
                _, stage, last = key.split(".")
                state[f"head.to_fused.{stage}.0.{last}"] = value
            elif not key.startswith("encoder."):
                state[key if key.startswith("cls.") else f"head.{key}"] = value
        return state


def mit_names(stages: nn.Module) -> dict[str, Tensor]:
    """Return the encoder stages of transformers' SegFormer under the authors' names, keys and values in one tensor."""
    source, weights = stages.state_dict(), {}
    for name, value in source.items():
        stage, rest = name.split(".", 1)
        if "v_proj" in rest:
            continue
        if "k_proj" in rest:
            value = torch.cat([value, source[name.replace("k_proj", "v_proj")]])
            rest = rest.replace("attention.k_proj", "attn.kv")
        for theirs, ours in MIT_NAMES:
            rest = rest.replace(theirs, ours)
        weights[rest.format(int(stage) + 1)] = value
    return weights
