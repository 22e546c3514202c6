"""Checkpoints of SSUL and of SATS's SegFormer: what they compute, and what is refused."""

import argparse
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.artifacts import ArtifactError
from pipeline.datasets.protocol_file import read_protocol
from pipeline.methods import Heads, get, settings_of
from pipeline.migration.__main__ import main
from pipeline.migration.checkpoint import convert_original
from pipeline.migration.reading import read_original
from pipeline.models import SegmentationModel, build_model, load_model
from tests.migration.originals import SatsNetwork, SsulNetwork, perturb

pytestmark = pytest.mark.usefixtures("one_thread")
WITH_UNKNOWN = [1, 1, 15, 5]


@pytest.fixture(scope="module")
def sats() -> SatsNetwork:
    torch.manual_seed(0)
    network = SatsNetwork([16, 5]).eval()
    perturb(network)
    return network


def released(state: dict[str, Tensor], path: Path) -> Path:
    """A file as the originals save it: names with `module.`, and a best score that numpy computed."""
    stored = {f"module.{key}": value for key, value in state.items()}
    score = {"epoch": 29, "model_state": stored, "optimizer_state": {}, "best_score": np.mean([0.5, 0.25])}
    torch.save(score, path)
    return path


def follows(method: str, values: dict[str, str], model: SegmentationModel) -> bool:
    """Whether a method would train on from the network."""
    wanted = get(method).heads(settings_of(method, values), (16, 5))
    return Heads(tuple(model.classes_per_step), model.classifier) == wanted


def same_outputs(ours: nn.Module, theirs: nn.Module, size: tuple[int, int]) -> None:
    """Compare logits in double precision, where a tensor in another's place cannot hide."""
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        expected = theirs.double()(images)
        found = ours.double()(images).logits
    theirs.float()
    assert expected.std(dim=(0, 2, 3)).min() > 1e-3, "every output must depend on the image"
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6 * float(expected.abs().max()))


def test_a_sats_segformer_computes_what_the_original_does(
    sats: SatsNetwork, protocols: list[Path], tmp_path: Path
) -> None:
    state = sats.published()
    assert len(state) == len(build_model("segformer_b2", [16, 5]).state_dict())
    path = released(state, tmp_path / "15-5-voc_SATS_1_segformer_b2.pth")
    out = tmp_path / "model.safetensors"
    assert main(["checkpoint", str(path), "--protocol", str(protocols[1]), "--out", str(out)]) == 0
    model = load_model(out, expect={"task": "15-5", "step": 1})
    assert model.backbone == "segformer_b2" and model.classes_per_step == [16, 5]
    same_outputs(model, sats, (64, 96))


def test_an_ssul_network_computes_what_the_original_does(protocols: list[Path]) -> None:
    torch.manual_seed(0)
    network = SsulNetwork(WITH_UNKNOWN).eval()
    perturb(network)
    protocol = read_protocol(protocols[1])
    state = {key: value for key, value in network.state_dict().items() if not key.endswith("num_batches_tracked")}
    model = convert_original(Path("x.pth"), state, protocol).eval()
    assert model.backbone == "deeplabv3_resnet101_ssul"
    assert follows("ssul", {}, model)
    same_outputs(model, network, (65, 97))


def test_an_ssul_file_is_imported_and_read_again(protocols: list[Path], tmp_path: Path) -> None:
    with torch.device("meta"):
        shapes = SsulNetwork(WITH_UNKNOWN).state_dict()
    # One number per tensor keeps the file small.
    state = {key: torch.rand(()).to(value.dtype).expand(value.shape) for key, value in shapes.items()}
    path = tmp_path / "deeplabv3_resnet101_voc_15-5_step_1_overlap.pth"
    torch.save({"model_state": state, "optimizer_state": {}, "best_score": np.float64(0.5)}, path)
    out = tmp_path / "model.safetensors"
    assert main(["checkpoint", str(path), "--protocol", str(protocols[1]), "--out", str(out)]) == 0
    model = load_model(out, expect={"step": 1})
    assert model.classes_per_step == WITH_UNKNOWN
    kept = state["classifier.head.2.3.bias"]
    assert torch.equal(model.state_dict()["classifiers.2.3.bias"], kept)


Change = Callable[[dict[str, Tensor]], object]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update({"head.linear_c4.weight": torch.zeros(1), "prototypes": torch.zeros(1)}),
         r"2 unknown: head\.linear_c4\.weight, prototypes$"),
        (lambda s: s.update({"body.mit.pos_embed1": torch.zeros(1)}), r"1 unknown: body\.mit\.pos_embed1$"),
        (lambda s: [s.pop(key) for key in ("head.to_segmentation.bias", "body.mit.norm4.bias")],
         r"2 missing \(our names\): body\.stages\.3\.norm\.bias, head\.fuse\.bias$"),
        (lambda s: [s.pop(key) for key in list(s) if ".block3." in key], r"missing \(our names\): .* and \d+ more$"),
        (lambda s: s.update({"head.to_segmentation.bias": torch.zeros(768)}),
         r"head\.fuse\.bias has shape \(768,\), expected \(256,\)$"),
        (lambda s: s.pop("cls.0.weight"), r"classifiers of \[\] outputs, step 1 needs \[16, 5\] or \[1, 1, 15, 5\]"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_listed(sats: SatsNetwork, protocols: list[Path], change: Change, message: str) -> None:
    state = sats.published()
    change(state)
    with pytest.raises(ArtifactError, match=message):
        convert_original(Path("x.pth"), state, read_protocol(protocols[1]))


def test_ssul_as_released_with_sats_brings_its_unknown_class(protocols: list[Path]) -> None:
    with torch.device("meta"):
        state = SatsNetwork(WITH_UNKNOWN).published()
    state = {key: torch.zeros(()).expand(value.shape) for key, value in state.items()}
    model = convert_original(Path("x.pth"), state, read_protocol(protocols[1]))
    assert follows("ssul", {"implementation": "sats"}, model)


def test_numbers_of_numpy_and_a_command_line_can_be_read(tmp_path: Path) -> None:
    values = [np.float64(0.5), np.float32(0.5), np.int64(3), np.bool_(True), argparse.Namespace(lr=0.1, name="x")]
    torch.save({"state_dict": {"a": torch.ones(2)}, "others": values}, tmp_path / "x.pth")
    assert torch.equal(read_original(tmp_path / "x.pth")["a"], torch.ones(2))


def test_a_number_pickled_by_an_older_numpy_can_be_read(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.ones(2)}, "best": np.float64(0.5)}, tmp_path / "new.pth")
    with zipfile.ZipFile(tmp_path / "new.pth") as new, zipfile.ZipFile(tmp_path / "old.pth", "w") as old:
        for entry in new.namelist():
            old.writestr(entry, new.read(entry).replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert b"numpy.core.multiarray" in (tmp_path / "old.pth").read_bytes()
    assert list(read_original(tmp_path / "old.pth")) == ["a"]


@pytest.mark.parametrize("value", [Path("x"), np.zeros(2), np.array(["a"], object), np.dtype(object)])
def test_other_objects_are_refused_by_name(tmp_path: Path, value: object) -> None:
    torch.save({"state_dict": {"a": torch.ones(2)}, "extra": value}, tmp_path / "x.pth")
    with pytest.raises(ArtifactError, match=r"is refused: it holds a `\w+[\w.]+`, and reading that can run code"):
        read_original(tmp_path / "x.pth")
