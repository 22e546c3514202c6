"""How the original repositories name the tensors of their networks (web_wilss.md 3, ciss_methods.md 3)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import Tensor

from pipeline.models import mix_transformer_weights, pretrained

_ABN_HEAD = {
    "map_convs.": "branches.",
    "map_bn.": "fuse.0.0.",
    "red_conv.": "fuse.1.",
    "global_pooling_conv.": "pooled.0.",
    "global_pooling_bn.": "pooled.1.0.",
    "pool_red_conv.": "pooled.2.",
    "red_bn.": "out.0.",
}
_SEGFORMER_HEAD = {**{f"to_fused.{stage}.0.": f"stages.{stage}." for stage in range(4)}, "to_segmentation.": "fuse."}
_SSUL_HEAD = {
    **{f"aspp.convs.{branch}.0.": f"branches.{branch}.0." for branch in range(4)},
    **{f"aspp.convs.{branch}.1.": f"branches.{branch}.1.0." for branch in range(4)},
    "aspp.convs.4.1.": "pooled.0.",
    "aspp.convs.4.2.": "pooled.1.0.",
    "aspp.project.0.": "fuse.0.",
    "aspp.project.1.": "fuse.1.0.",
}
"""Beginnings of the originals' names -> ours."""


NormAct = Literal["iabn", "abn"]
"""The originals' option `--norm_act`: in-place activated norms (iabn, iabn_sync), or plain ones (abn)."""


@dataclass(frozen=True)
class Layout:
    """One code base's names, and the network of ours that they fill."""

    title: str
    backbone: str
    """The network that its checkpoints hold unless the caller names another."""
    classifier: str
    """Kind of classifier (models.classifier)."""
    body: str
    """What every name of the body begins with."""
    body_name: Callable[[str], str]
    """Name within the body -> ours. Raises ValueError for a name it does not know."""
    head: str
    head_names: Mapping[str, str]
    classifiers: str
    inplace_norm: bool = False
    """Whether norms scale by |weight| + 1e-5, as in-place ABN does (web_wilss.md 3.2)."""

    def convert(self, state: Mapping[str, Tensor], norm_act: NormAct = "iabn") -> tuple[dict[str, Tensor], list[str]]:
        """Return the tensors under our names, and the names that are none of this layout.

        `norm_act`: scales of in-place norms become |weight| + 1e-5, those of plain ones (`abn`) stay.
        """
        converted, unknown = {}, []
        for key, value in state.items():
            try:
                name = self._rename(key)
            except ValueError:
                unknown.append(key)
                continue
            folded = norm_act == "iabn" and self._is_scale(name, value)
            converted[name] = value.abs() + pretrained.ABN_EPS if folded else value
        return converted, unknown

    def negative_scales(self, state: Mapping[str, Tensor]) -> int:
        """Return how many norm weights are negative, which in-place and plain norms read differently."""
        return sum(int((value < 0).sum()) for key, value in state.items() if self._is_scale(key, value))

    def _is_scale(self, name: str, value: Tensor) -> bool:
        return self.inplace_norm and value.ndim == 1 and name.endswith("weight")

    def classifier_sizes(self, state: Mapping[str, Tensor]) -> list[int]:
        """Return how many outputs each classifier has; empty if there is none, or one is missing in between."""
        inner = r"\.3" if self.classifier == "conv" else ""
        last = re.compile(rf"{re.escape(self.classifiers)}(\d+){inner}\.weight")
        found = {int(m[1]): len(value) for key, value in state.items() if (m := last.fullmatch(key))}
        return [found[step] for step in sorted(found)] if sorted(found) == list(range(len(found))) else []

    def _rename(self, key: str) -> str:
        if key.startswith(self.classifiers):
            return f"classifiers.{key.removeprefix(self.classifiers)}"
        if key.startswith(self.body):
            return f"body.{self.body_name(key.removeprefix(self.body))}"
        for theirs, ours in self.head_names.items():
            if key.startswith(self.head + theirs):
                return f"head.{ours}{key.removeprefix(self.head + theirs)}"
        raise ValueError(key)


SSUL = Layout(
    title="SSUL on DeepLabV3",
    backbone="deeplabv3_resnet101_ssul",
    classifier="conv",
    body="backbone.",
    body_name=partial(pretrained.rename, inplace=False),
    head="classifier.",
    head_names=_SSUL_HEAD,
    classifiers="classifier.head.",
)
SATS = Layout(
    title="SATS on SegFormer",
    backbone="segformer_b2",
    classifier="linear",
    body="body.mit.",
    body_name=mix_transformer_weights.rename,
    head="head.",
    head_names=_SEGFORMER_HEAD,
    classifiers="cls.",
)
ABN = Layout(
    title="MiB, PLOP, SATS or WILSON on DeepLabV3",
    backbone="deeplabv3_resnet101",
    classifier="linear",
    body="body.",
    body_name=partial(pretrained.rename, inplace=True),
    head="head.",
    head_names=_ABN_HEAD,
    classifiers="cls.",
    inplace_norm=True,
)
LAYOUTS = (SSUL, SATS, ABN)


def layout_of(names: Iterable[str]) -> Layout | None:
    """Return the layout that a checkpoint's names follow, None for another code base."""
    names = list(names)
    for layout in LAYOUTS:
        if all(any(name.startswith(part) for name in names) for part in (layout.body, layout.classifiers)):
            return layout
    return None
