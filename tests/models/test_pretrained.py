"""Published ImageNet weights in our bodies: in-place ABN's and torchvision's layouts, and files that do not fit."""

import hashlib
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.artifacts import ArtifactError
from pipeline.models.pretrained import load_pretrained, read_weights
from pipeline.models.resnet import LAYERS, ResNetBody
from pipeline.models.wide_resnet import Stage, WideResNetBody

torch.set_num_threads(1)
WIDE = (Stage(2, (4, 4)), Stage(1, (8, 8), stride=2), Stage(1, (4, 8, 16), dilation=2))


def _shaken(module: nn.Module) -> nn.Module:
    """Norms with statistics of their own and scales of both signs."""
    for norm in (m for m in module.modules() if isinstance(m, nn.BatchNorm2d)):
        for tensor in (norm.weight.data, norm.bias.data, norm.running_mean):
            tensor.normal_()
        norm.running_var.uniform_(0.5, 2)
    return module.eval()


def _torchvision_maps(net: nn.Module, x: Tensor) -> list[Tensor]:
    x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
    maps = []
    for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
        x = stage(x)
        maps.append(x)
    return maps


@pytest.mark.parametrize(("depth", "dilated"), [(50, False), (50, True), (101, True)])
def test_torchvision_weights_give_torchvision_features(tmp_path: Path, depth: int, dilated: bool) -> None:
    build = getattr(torchvision.models, f"resnet{depth}")
    net = build(weights=None, replace_stride_with_dilation=[False, False, dilated]).eval()
    for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean.normal_(std=0.1)
    torch.save(net.state_dict(), tmp_path / "resnet.pth")
    body = ResNetBody(LAYERS[depth], slope=0, late_dilation=dilated).eval()
    if not dilated:
        # Ours dilates all of stage 4 (web_wilss.md 3.3); torchvision starts one block later.
        net.layer4[0].conv2.stride = net.layer4[0].downsample[0].stride = (1, 1)
        for block in net.layer4:
            block.conv2.dilation = block.conv2.padding = (2, 2)
    load_pretrained(body, tmp_path / "resnet.pth")
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        features = body(x)
        expected = _torchvision_maps(net, x)
    for ours, theirs in zip(features.maps, expected, strict=True):
        torch.testing.assert_close(ours.relu(), theirs, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(features.body, expected[-1], rtol=1e-4, atol=1e-4)


def _published(body: nn.Module, classifier: str = "fc.weight") -> dict[str, Tensor]:
    """The body's tensors under the names of the in-place ABN authors' files, from several processes."""
    found: dict[str, Tensor] = {classifier: torch.randn(10, 4)}
    for key, value in body.state_dict().items():
        part, *rest = key.split(".")
        if key.endswith("num_batches_tracked"):
            continue
        if part == "stem":
            name = f"mod1.{'conv1' if rest[0] == 'conv' else 'bn1'}.{rest[1]}"
        elif part == "norm":
            name = f"bn_out.{rest[0]}"
        else:
            stage, block, layer, tensor = rest
            layer = {"project": "proj_conv", "project_norm": "proj_bn"}.get(layer, layer.replace("norm", "bn"))
            outside = layer.startswith("proj") or (isinstance(body, WideResNetBody) and layer == "bn1")
            name = f"mod{int(stage) + 2}.block{int(block) + 1}.{'' if outside else 'convs.'}{layer}.{tensor}"
        found[f"module.{name}"] = value.clone()
    found[f"module.{classifier}"] = found.pop(classifier)
    return found


def _bodies(kind: str) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    make = (lambda: ResNetBody((1, 2, 1, 1))) if kind == "resnet" else (lambda: WideResNetBody(WIDE))
    return _shaken(make()), make().eval()


@pytest.mark.parametrize(("kind", "classifier"), [("resnet", "fc.weight"), ("wide", "classifier.fc.weight")])
@pytest.mark.parametrize("wrapped", [True, False])
def test_inplace_abn_weights_scale_by_the_magnitude(tmp_path: Path, kind: str, classifier: str, wrapped: bool) -> None:
    source, body = _bodies(kind)
    weights = _published(source, classifier)
    torch.save({"epoch": 90, "state_dict": weights} if wrapped else weights, tmp_path / "iabn.pth.tar")
    load_pretrained(body, tmp_path / "iabn.pth.tar")
    scales = [m.weight for m in source.modules() if isinstance(m, nn.BatchNorm2d)]
    assert any((scale < 0).any() for scale in scales)
    with torch.no_grad():
        for scale in scales:
            scale.copy_(scale.abs() + 1e-5)
        x = torch.randn(1, 3, 32, 32)
        for ours, theirs in zip(body(x).maps, source(x).maps, strict=True):
            assert torch.equal(ours, theirs)


def test_names_of_the_published_files(tmp_path: Path) -> None:
    """A few names written out, as the in-place ABN authors' networks spell them."""
    names = set(_published(ResNetBody((1, 1, 1, 1))))
    assert {
        "module.mod1.conv1.weight",
        "module.mod1.bn1.running_var",
        "module.mod2.block1.convs.conv1.weight",
        "module.mod5.block1.convs.bn3.weight",
        "module.mod3.block1.proj_conv.weight",
        "module.mod3.block1.proj_bn.bias",
    } <= names
    wide = set(_published(WideResNetBody(WIDE)))
    assert {
        "module.mod1.conv1.weight",
        "module.mod2.block2.bn1.weight",
        "module.mod2.block2.convs.bn2.weight",
        "module.mod2.block1.proj_conv.weight",
        "module.mod4.block1.convs.conv3.weight",
        "module.bn_out.running_mean",
    } <= wide


def test_safetensors_and_checksum(tmp_path: Path) -> None:
    source, body = _bodies("resnet")
    path = tmp_path / "iabn.safetensors"
    save_file(_published(source), path)
    load_pretrained(body, path, hashlib.sha256(path.read_bytes()).hexdigest().upper())
    assert torch.equal(body.stem.conv.weight, source.stem.conv.weight)
    with pytest.raises(ArtifactError, match=r"have sha256 \w{64}, expected 00"):
        load_pretrained(body, path, "00")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"module.mod2.block9.bn1.bias": torch.ones(1)}, "1 tensors left over, first `stages.0.8.norm1.bias`"),
        ({"module.mod1.conv1.weight": None}, "1 tensors missing, first `stem.conv.weight`"),
        ({"module.mod1.bn1.bias": torch.ones(3)}, r"`stem.norm.bias` has shape \(3,\), expected \(64,\)"),
        ({"module.head.weight": torch.ones(3)}, "`head.weight` is a name of neither in-place ABN's nor torchvision's"),
    ],
)
def test_every_tensor_must_find_its_place(tmp_path: Path, change: dict[str, Tensor | None], message: str) -> None:
    source, body = _bodies("resnet")
    before = {key: value.clone() for key, value in body.state_dict().items()}
    weights = {key: value for key, value in {**_published(source), **change}.items() if value is not None}
    torch.save(weights, tmp_path / "iabn.pth")
    with pytest.raises(ArtifactError, match=message):
        load_pretrained(body, tmp_path / "iabn.pth")
    assert all(torch.equal(value, before[key]) for key, value in body.state_dict().items())


class _Code:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("run",)


def test_files_that_are_not_tensors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": {"a": _Code()}}, tmp_path / "code.pth")
    (tmp_path / "cut.pth").write_bytes(b"PK\x03\x04 and no more")
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "cut.safetensors").write_bytes(b"\x08")
    torch.save([torch.ones(1)], tmp_path / "list.pth")
    for name in ("code.pth", "cut.pth", "empty.pth", "cut.safetensors"):
        with pytest.raises(ArtifactError, match="cannot be read as tensors alone"):
            read_weights(tmp_path / name)
    with pytest.raises(ArtifactError, match="hold no tensors by name"):
        read_weights(tmp_path / "list.pth")
    with pytest.raises(ArtifactError, match="do not exist; download them"):
        read_weights(tmp_path / "absent.pth")
    assert capsys.readouterr().out == ""
