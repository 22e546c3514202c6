"""OpenFlamingo's own library through our captioner, on tiny random weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.captioning.captioners import Captioner as AnyCaptioner
from pipeline.captioning.captioners import build
from pipeline.config import Captioner
from pipeline.miniweb.drawing import draw_scene
from tests.captioning import flamingo_parts as parts

pytest.importorskip("open_flamingo", reason="envs/main.lock.txt holds it")


def images(n: int) -> list[Image.Image]:
    return [draw_scene(np.random.default_rng(i), [i % 20 + 1]).image for i in range(n)]


@pytest.fixture(scope="module", params=[(parts.save_neox, 2), (parts.save_mpt, 4)], ids=["4B", "9B"])
def settings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    save, every = request.param
    folder = tmp_path_factory.mktemp("flamingo")
    save(folder / "language")
    return parts.save_parts(folder, str(folder / "language"), every)


def with_parts(settings: dict[str, Any], **changes: Any) -> Captioner:
    return Captioner(**{**settings, "openflamingo": {**settings["openflamingo"], **changes}})


def test_batch_equals_single_and_images_matter(settings: dict[str, Any], one_thread: None) -> None:
    captioner = build(Captioner(**settings))
    assert isinstance(captioner, AnyCaptioner)
    batch = captioner.caption(images(4))
    assert batch == [captioner.caption([image])[0] for image in images(4)]
    assert len(set(batch)) > 1, "the image must reach the language model"
    assert not any("image of" in text.split("of")[0] or "<" in text or "\n" in text for text in batch)
    assert len(captioner.revision) == 64


def test_images_change_the_logits(settings: dict[str, Any], one_thread: None) -> None:
    import torch

    captioner: Any = build(Captioner(**settings))
    inputs = captioner.prepare(images(2))
    with torch.inference_mode():
        right = captioner.network(**inputs).logits
        swapped = captioner.network(**{**inputs, "vision_x": inputs["vision_x"].flip(0)}).logits
    assert (right - swapped).abs().max() > 1e-3


def test_prompt_and_stop_token_never_reach_the_caption(settings: dict[str, Any], one_thread: None) -> None:
    """The stop token where it was generated, and nothing else: the released script cuts 14 characters in any case."""
    import torch

    captioner: Any = build(Captioner(**settings))
    words = captioner.tokenizer(["a red bus", "two dog on the grass"], padding_side="right", padding=True)["input_ids"]
    stop = captioner.tokenizer.convert_tokens_to_ids("<|endofchunk|>")
    generated = torch.tensor(words)
    generated[0, 3] = stop
    captioner.network.generate = lambda lang_x, **_: torch.cat([lang_x, generated], dim=1)
    assert captioner.caption(images(2)) == ["a red bus", "two dog on the grass"]
    captioner.network.generate = lambda lang_x, **_: torch.cat([lang_x, generated.flip(0)], dim=1)
    assert captioner.caption(images(2)) == ["two dog on the grass", "a red bus"]


def test_plain_gelu_is_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    parts.register_clip(tmp_path, "tiny-plain", quick_gelu=False)
    with pytest.raises(ValueError, match="plain GELU.*ViT-L-14-quickgelu"):
        build(with_parts(settings, vision="tiny-plain"))
    with pytest.raises(ValueError, match="plain GELU"):
        build(with_parts(settings, vision="ViT-L-14"))


def change_interval(state: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    return settings | {"openflamingo": settings["openflamingo"] | {"cross_attention_every": 1}}


def drop(text: str) -> Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]:
    def change(state: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
        del state[next(name for name in state if text in name)]
        return settings

    return change


def reshape(state: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    name = next(name for name in state if "perceiver" in name and state[name].ndim == 2)
    state[name] = state[name][:, :-1]
    return settings


def add(state: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    state["lang_encoder.transformer.blocks.77.gated_cross_attn_layer.attn_gate"] = next(iter(state.values()))
    return settings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_interval, "lacks .* trained parameters.*cross_attention_every"),
        (drop("perceiver"), "lacks 1 trained parameters, the first perceiver"),
        (drop("gated_cross"), "lacks .*gated_cross_attn_layer"),
        (reshape, "is of another model: size mismatch"),
        (add, "holds 1 parameters that the model lacks"),
    ],
    ids=["interval", "perceiver", "gate", "shape", "unknown"],
)
def test_wrong_checkpoint_is_refused(
    settings: dict[str, Any], change: Any, message: str, tmp_path: Path, one_thread: None
) -> None:
    import torch

    state = torch.load(settings["model"], weights_only=True)
    changed = change(state, settings)
    torch.save(state, tmp_path / "wrong.pt")
    with pytest.raises(ValueError, match=message):
        build(Captioner(**{**changed, "model": str(tmp_path / "wrong.pt")}))


def test_missing_parts_are_one_clear_line(settings: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="model must be a local file, the OpenFlamingo checkpoint"):
        build(Captioner(**{**settings, "model": "openflamingo/OpenFlamingo-4B"}))
    with pytest.raises(ValueError, match="vision_weights must be a local file"):
        build(with_parts(settings, vision_weights=""))
    with pytest.raises(ValueError, match="language_model must be a local folder"):
        build(with_parts(settings, language_model=str(tmp_path)))
    with pytest.raises(ValueError, match="cannot be read"):
        (tmp_path / "pickle.pt").write_bytes(b"cos\nsystem\n(S'echo bad'\ntR.")
        build(Captioner(**{**settings, "model": str(tmp_path / "pickle.pt")}))


def test_unpinned_code_of_a_language_model_is_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "mosaic_gpt", "auto_map": {"AutoConfig": "x.Y"}}')
    with pytest.raises(ValueError, match="needs the model's own code.*isolated"):
        build(with_parts(settings, language_model=str(tmp_path)))


def test_names_and_buffers_of_older_libraries_are_known(
    settings: dict[str, Any], tmp_path: Path, one_thread: None
) -> None:
    """The released checkpoints were written by transformers 4.28: another output layer's name, buffers saved."""
    import torch

    state = torch.load(settings["model"], weights_only=True)
    layers = next(name for name in state if "gated_cross" in name).split(".gated_cross")[0]
    old = {f"{layers}.decoder_layer.attention.bias": torch.ones(1, 1, 4, 4)}
    old |= {f"{layers}.decoder_layer.attention.masked_bias": torch.tensor(-1e9)}
    old |= {name.replace("lm_head", "embed_out"): tensor for name, tensor in state.items()}
    torch.save({"model_state_dict": {f"module.{name}": tensor for name, tensor in old.items()}}, tmp_path / "old.pt")
    again: Any = build(Captioner(**{**settings, "model": str(tmp_path / "old.pt")}))
    first: Any = build(Captioner(**settings))
    assert again.caption(images(2)) == first.caption(images(2))
