"""timm's feature backbones through the one adapter (skipped where timm is not installed)."""

import importlib
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline.artifacts import ArtifactError
from pipeline.models import build_model, load_model, load_pretrained, save_model

torch.set_num_threads(1)
needs_timm = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")


def test_without_timm_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=r"need the package timm, which is not installed; run `pip install timm"):
        build_model("timm:resnet18", [3])


@needs_timm
@pytest.mark.parametrize(
    ("name", "stride", "levels"),
    [
        ("resnet18", 16, 5),
        ("mobilenetv3_small_050", 16, 5),
        ("convnext_atto", 16, 4),
        ("pvt_v2_b0", 32, 4),
        ("dla34", 32, 5),
        ("mambaout_femto", 32, 4),
        ("swin_tiny_patch4_window7_224", 32, 4),
        ("vit_tiny_patch16_224", 16, 3),
    ],
)
def test_one_adapter_serves_every_family(name: str, stride: int, levels: int) -> None:
    model = build_model(f"timm:{name}", [3, 2])
    output = model(torch.randn(2, 3, 128, 96))
    side = (128 // stride, 96 // stride)
    assert model.body.stride == stride and model.head.window == 512 // stride
    assert output.logits.shape == (2, 5, *side)
    assert output.body.shape == (2, model.body.channels, *side)
    assert len(output.maps) == levels + 1 and output.attention == ()
    output.logits.square().mean().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@needs_timm
def test_stride_arguments_and_window_can_be_chosen() -> None:
    options = {"output_stride": 8, "window": 12, "arguments": {"drop_path_rate": 0.1}}
    with torch.device("meta"):
        model = build_model("timm:resnet18", [3], options=options)
    assert (model.body.stride, model.head.window, model.head.branches[3].dilation) == (8, 12, (32, 32))


@needs_timm
@pytest.mark.parametrize(
    ("backbone", "options", "message"),
    [
        ("timm:resnet81", {}, "timm has no network `resnet81`; did you mean `resnet"),
        ("timm:hf_hub:someone/model", {}, "timm has no network `hf_hub:someone/model`"),
        ("timm:dla34", {"output_stride": 8}, "cannot build features of `dla34` with output_stride 8"),
        ("timm:resnet18", {"arguments": {"colour": 1}}, "cannot build features of `resnet18` .*colour"),
        ("timm:resnet18", {"outputstride": 8}, "has no option `outputstride`; did you mean `output_stride`"),
        ("timm:", {}, "unknown backbone `timm:`"),
    ],
)
def test_mistakes(backbone: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_model(backbone, [3], options=options)


@needs_timm
def test_checkpoint_and_synchronised_norms(tmp_path: Path) -> None:
    # mobilenetv3's norms hold the activation, which torch's own conversion would lose.
    options = {"norm": "sync", "output_stride": 16}
    model = build_model("timm:mobilenetv3_small_050", [3], options=options)
    plain = build_model("timm:mobilenetv3_small_050", [3])
    plain.load_state_dict(model.state_dict())
    assert any(isinstance(module, nn.SyncBatchNorm) for module in model.body.modules())
    assert not any(type(module) is nn.BatchNorm2d for module in model.modules())
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(model.eval()(x).logits, plain.eval()(x).logits)
    save_model(tmp_path / "m.safetensors", model, {})
    loaded = load_model(tmp_path / "m.safetensors")
    assert loaded.options == options
    torch.testing.assert_close(loaded(x).logits, model(x).logits)


@needs_timm
@pytest.mark.parametrize("name", ["resnet18", "convnext_atto", "efficientnet_b0", "vit_tiny_patch16_224"])
def test_weights_of_the_whole_network_fill_the_body(tmp_path: Path, name: str) -> None:
    whole = importlib.import_module("timm").create_model(name, pretrained=False).eval()
    torch.save(whole.state_dict(), tmp_path / "timm.pth")
    options = {} if name.startswith("vit") else {"output_stride": 32}
    body = build_model(f"timm:{name}", [3], options=options).body.eval()
    load_pretrained(body, tmp_path / "timm.pth")
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        expected = whole.forward_intermediates(x, intermediates_only=True, norm=False)[-1]
        torch.testing.assert_close(body(x).body, expected)
    torch.save({**whole.state_dict(), "unheard.of": torch.ones(1)}, tmp_path / "other.pth")
    with pytest.raises(ArtifactError, match="has no tensor `unheard.of`"):
        load_pretrained(body, tmp_path / "other.pth")
