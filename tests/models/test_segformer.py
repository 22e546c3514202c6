"""SegFormer beside the transformers library's, its published weights, and how its parts behave."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pipeline.artifacts import ArtifactError
from pipeline.models import build_model, load_model, load_pretrained, save_model
from pipeline.models.mix_transformer import DropPath, EfficientAttention, MixTransformer, MixTransformerSize
from pipeline.models.network import Features
from pipeline.models.segformer_head import OfficialHead, SatsHead
from tests.migration.originals import mit_names

TINY = MixTransformerSize(dims=(8, 16, 20, 32), depths=(1, 2, 1, 1), mlp_ratio=2)


def _peer() -> nn.Module:
    """transformers' SegFormer with TINY's sizes, random weights, and the authors' epsilons."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    config = SegformerConfig(
        hidden_sizes=TINY.dims,
        depths=TINY.depths,
        num_attention_heads=TINY.heads,
        sr_ratios=TINY.reductions,
        mlp_ratios=[TINY.mlp_ratio] * 4,
        decoder_hidden_size=24,
        num_labels=5,
        attn_implementation="eager",
    )
    peer = SegformerForSemanticSegmentation(config).eval()
    with torch.no_grad():
        for parameter in peer.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    for stage in peer.segformer.stages:
        for norm in (stage.layer_norm, *(n for b in stage.blocks for n in (b.layernorm_before, b.layernorm_after))):
            norm.eps = 1e-6
    return peer


def test_published_weights_give_the_maps_of_transformers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    peer, images = _peer(), torch.randn(2, 3, 64, 96)
    classifier = {"head.weight": torch.zeros(1000, 32), "head.bias": torch.zeros(1000)}
    torch.save({**classifier, **mit_names(peer.segformer.stages)}, tmp_path / "mit.pth")
    body = MixTransformer(TINY).eval()
    load_pretrained(body, tmp_path / "mit.pth")
    with torch.no_grad():
        features = body(images)
        expected = peer.segformer(images, output_hidden_states=True, output_attentions=True)
    for ours, theirs in zip(features.maps, expected.hidden_states, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    last = [sum(TINY.depths[: stage + 1]) - 1 for stage in range(4)]
    for ours, block in zip(features.attention, last, strict=True):
        torch.testing.assert_close(ours, expected.attentions[block], rtol=1e-4, atol=1e-6)


def test_official_head_is_that_of_transformers() -> None:
    torch.manual_seed(0)
    peer = _peer().decode_head
    head = OfficialHead(TINY.dims, 24).eval()
    for ours, theirs in zip(head.stages, peer.linear_projections, strict=True):
        ours.load_state_dict({"weight": theirs.proj.weight[..., None, None], "bias": theirs.proj.bias})
    head.fuse.load_state_dict(peer.linear_fuse.state_dict())
    head.norm.load_state_dict(peer.batch_norm.state_dict())
    maps = tuple(torch.randn(2, dim, 16 >> i, 24 >> i) for i, dim in enumerate(TINY.dims))
    with torch.no_grad():
        logits = peer.classifier(head(Features(maps[3], maps, ())))
        torch.testing.assert_close(logits, peer(maps), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.update({"backbone.x": torch.zeros(1)}), "`backbone.x` is not a name of the SegFormer authors'"),
        (lambda w: w.update({"block1.7.norm1.weight": torch.zeros(8)}), "1 tensors left over"),
        (lambda w: w.pop("norm4.bias"), "1 tensors missing, first `stages.3.norm.bias`"),
    ],
)
def test_every_published_tensor_finds_its_place(tmp_path: Path, change, message: str) -> None:
    body = MixTransformer(TINY)
    before = {name: value.clone() for name, value in body.state_dict().items()}
    weights = _in_published_names(body)
    change(weights)
    torch.save(weights, tmp_path / "mit.pth")
    with pytest.raises(ArtifactError, match=message):
        load_pretrained(body, tmp_path / "mit.pth")
    assert all(torch.equal(before[name], value) for name, value in body.state_dict().items())


def _in_published_names(body: nn.Module) -> dict[str, Tensor]:
    weights = {}
    for name, value in body.state_dict().items():
        _, stage, part, rest = name.split(".", 3)
        part = {"embedding": "patch_embed", "blocks": "block"}.get(part, part)
        weights[f"{part}{int(stage) + 1}.{rest}".replace("dwconv", "dwconv.dwconv")] = value
    return weights


def test_attention_is_single_precision_under_autocast_and_carries_gradient() -> None:
    body = MixTransformer(TINY)
    with torch.autocast("cpu", torch.bfloat16):
        attention = body(torch.randn(1, 3, 64, 64)).attention
    assert {weights.dtype for weights in attention} == {torch.float32}
    for weights in attention:
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(weights.shape[:3]))
    for stage, weights in zip(body.stages, attention, strict=True):
        body.zero_grad()
        weights.square().sum().backward(retain_graph=True)
        assert stage.blocks[-1].attn.q.weight.grad.abs().sum() > 0


def test_attention_without_its_map_is_the_same() -> None:
    torch.manual_seed(0)
    attention, tokens = EfficientAttention(12, heads=3, reduction=2), torch.randn(2, 24, 12)
    with_map, weights = attention(tokens, (4, 6), need_map=True)
    without, nothing = attention(tokens, (4, 6))
    assert weights.shape == (2, 3, 24, 6) and nothing is None
    torch.testing.assert_close(with_map, without)


def test_drop_path_drops_whole_images_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    drop, x = DropPath(0.25), torch.ones(4000, 3, 2)
    dropped = drop(x)
    per_image = dropped.flatten(1)
    assert torch.equal(per_image.amin(dim=1), per_image.amax(dim=1))
    assert set(per_image.unique().tolist()) == {0.0, torch.tensor(4 / 3).item()}
    assert dropped.mean().item() == pytest.approx(1, abs=0.03)
    assert drop.eval()(x) is x


def test_sats_head_is_upsampling_then_fusing() -> None:
    torch.manual_seed(0)
    head = SatsHead((3, 4, 5, 6), channels=7).double()
    sides = [(9, 13), (5, 7), (3, 4), (2, 2)]
    maps = tuple(torch.randn(2, 3 + i, *side, dtype=torch.float64) for i, side in enumerate(sides))
    resized = [nn.functional.interpolate(conv(x), size=sides[0]) for conv, x in zip(head.stages, maps, strict=True)]
    torch.testing.assert_close(head(Features(maps[3], maps, ())), head.fuse(torch.cat(resized, dim=1)))


@pytest.mark.parametrize("head", ["sats", "official"])
def test_network_with_either_head_takes_any_size(head: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_model("segformer_b0", [4, 2], options={"head": head}).eval()
    images = torch.randn(1, 3, 70, 101)
    with torch.inference_mode():
        output = model(images)
    assert output.logits.shape == (1, 6, 18, 26)
    assert output.body.shape == (1, 256, 3, 4) and model.body.stride == 32
    assert [x.shape[1] for x in output.maps] == [32, 64, 160, 256, 256]
    save_model(tmp_path / "model.safetensors", model, {})
    with torch.inference_mode():
        assert torch.equal(load_model(tmp_path / "model.safetensors")(images).logits, output.logits)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "sat"}, "unknown SegFormer head `sat`, expected sats or official"),
        ({"drop_path": 1.5}, "drop_path is a probability below 1, got 1.5"),
        ({"heads": "sats"}, "has no option `heads`; did you mean `head`"),
    ],
)
def test_mistaken_options_are_named(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_model("segformer_b0", [4], options=options)
