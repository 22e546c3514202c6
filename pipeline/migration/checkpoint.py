"""Checkpoints of MiB, PLOP, SATS, SSUL and WILSON as ours (web_wilss.md 3.2, 3.5, 3.6, 7.6; ciss_methods.md 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from pipeline.artifacts import ArtifactError
from pipeline.datasets.protocol_file import Protocol, read_protocol
from pipeline.losses.ssul import head_sizes
from pipeline.migration.layouts import LAYOUTS, SSUL, Layout, NormAct, layout_of
from pipeline.migration.reading import read_original
from pipeline.models import SegmentationModel, build_model, save_model

_SHOWN = 12


def import_checkpoint(
    path: Path, protocol_path: Path, out: Path, backbone: str = "", norm_act: NormAct = "iabn"
) -> str:
    """Write an original checkpoint as model.safetensors of the protocol's step; return what was done, in a line.

    `backbone` is that of the code base unless named. In-place ABN scales by |gamma| + 1e-5, so norm weights become
    that, unless `norm_act` says that the norms were plain; where a weight is negative, so that it matters, the line
    says so. Raises ArtifactError with the reason if the file cannot be read as tensors alone, or its tensors are not
    those of this network and task.
    """
    protocol = read_protocol(protocol_path)
    state = read_original(path)
    model = convert_original(path, state, protocol, backbone, norm_act)
    about = {**protocol.identity(), "order": list(protocol.order), "imported_from": path.name}
    save_model(out, model, about)
    done = f"wrote {out}: {len(state)} tensors, {model.backbone}, classifiers {model.classes_per_step}"
    layout = layout_of(state)
    negative = layout.negative_scales(state) if layout else 0
    return f"{done}\n{_warning(negative, norm_act)}" if negative else done


def _warning(negative: int, norm_act: NormAct) -> str:
    read = {
        "iabn": "by their magnitude, as in-place ABN does; if trained with plain ABN, import with --norm-act abn",
        "abn": "with their sign, as plain ABN does; if trained with in-place ABN, import with --norm-act iabn",
    }
    return f"WARNING: {negative} norm weights are negative and were read {read[norm_act]}"


def convert_original(
    path: Path, state: Mapping[str, Tensor], protocol: Protocol, backbone: str = "", norm_act: NormAct = "iabn"
) -> SegmentationModel:
    """Return the network with an original's tensors.

    Raises ArtifactError, naming `path` and the tensors that are unknown, missing or of another shape, if they do
    not fit.
    """
    layout = layout_of(state)
    if layout is None:
        known = "; ".join(f"{layout.title} ({layout.body}*, {layout.classifiers}0.*)" for layout in LAYOUTS)
        raise ArtifactError(f"checkpoint {path} is of another code base; known are {known}")
    sizes = _checked_sizes(path, layout, state, protocol)
    # Random weights of this size would take seconds and be overwritten at once.
    with torch.device("meta"):
        model = build_model(backbone or layout.backbone, sizes, layout.classifier)
    converted, unknown = layout.convert(state, norm_act)
    own = model.state_dict()
    counters = {key for key in own if key.endswith("num_batches_tracked")}
    if problems := _problems(converted, unknown, {key: own[key] for key in own.keys() - counters}):
        raise ArtifactError(f"checkpoint {path} does not fit {model.backbone} ({layout.title}): {'; '.join(problems)}")
    zeros = {key: torch.zeros((), dtype=own[key].dtype) for key in counters}
    model.load_state_dict({**zeros, **converted}, assign=True)
    return model


def _checked_sizes(path: Path, layout: Layout, state: Mapping[str, Tensor], protocol: Protocol) -> list[int]:
    plain = list(protocol.step_sizes)
    step = protocol.step
    # SATS's release trains SSUL with its own networks; its background and unknown are classifiers, too.
    expected = [head_sizes(plain)] if layout is SSUL else [plain, head_sizes(plain)]
    sizes = layout.classifier_sizes(state)
    if sizes not in expected:
        wanted = " or ".join(map(str, expected))
        raise ArtifactError(f"checkpoint {path} has classifiers of {sizes} outputs, step {step} needs {wanted}")
    return sizes


def _problems(found: Mapping[str, Tensor], unknown: Sequence[str], expected: Mapping[str, Tensor]) -> list[str]:
    shapes = [
        f"{key} has shape {tuple(found[key].shape)}, expected {tuple(expected[key].shape)}"
        for key in sorted(found.keys() & expected.keys())
        if found[key].shape != expected[key].shape
    ]
    groups = {
        "unknown": [*unknown, *sorted(found.keys() - expected.keys())],
        "missing (our names)": sorted(expected.keys() - found.keys()),
        "of another shape": shapes,
    }
    return [f"{len(names)} {what}: {_listed(names)}" for what, names in groups.items() if names]


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
