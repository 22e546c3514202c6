"""OpenFlamingo through its own library: zero-shot captions after "<image>An image of" (web_wilss.md 6.1)."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from PIL import Image

from pipeline.captioning.captioners import Captioner
from pipeline.captioning.captioners.generation import device_of, one_line
from pipeline.captioning.captioners.language_model import safe_view
from pipeline.captioning.captioners.snapshot import digest
from pipeline.config import Captioner as Settings

MEDIA_TOKEN = "<image>"
PROMPT = "An image of"
_RENAMED = {"lang_encoder.embed_out.weight": "lang_encoder.lm_head.weight"}
"""GPT-NeoX's output layer, before and since transformers 5."""
_OLD_BUFFER = re.compile(r"\.(attention\.(masked_)?bias|rotary_emb\.inv_freq|attn_bias)$")


class OpenFlamingoCaptioner(Captioner):
    """Left-padded batches, beam search, no example images; the prompt and the stop token never reach the caption.

    Raises ValueError if a part is missing, if the vision encoder is not a quick-GELU one, if the language model
    would run unpinned code, or if the checkpoint does not fit: every trained parameter must be in it.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings, self.model = settings, settings.model
        checkpoint = _file(settings.model, "model", "the OpenFlamingo checkpoint")
        if settings.dtype == "auto":
            raise ValueError("captioning.captioner.dtype is auto; openflamingo needs float32, bfloat16 or float16")
        network, self._transform, self.tokenizer = _parts(settings)
        load_checkpoint(network, checkpoint)
        language = Path(settings.openflamingo.language_model) / "config.json"
        self.revision = digest([checkpoint, language])
        self.device, self.dtype = device_of(settings), getattr(torch, settings.dtype)
        self.network = network.to(self.device, self.dtype).eval()
        self.tokenizer.padding_side = "left"

    def prepare(self, images: Sequence[Image.Image]) -> dict[str, Any]:
        """Return pixels (B, 1, 1, 3, H, W) and the tokens of the prompt."""
        pixels = torch.stack([self._transform(image.convert("RGB")) for image in images])[:, None, None]
        text = MEDIA_TOKEN + (self.settings.prompt or PROMPT)
        tokens = self.tokenizer([text] * len(images), return_tensors="pt", padding=True)
        return {"vision_x": pixels, "lang_x": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}

    def generate(self, prepared: dict[str, Any]) -> list[str]:
        """Return one line of text per image."""
        inputs = {key: value.to(self.device) for key, value in prepared.items()}
        inputs["vision_x"] = inputs["vision_x"].to(self.dtype)
        with torch.inference_mode():
            out = self.network.generate(
                **inputs,
                max_new_tokens=self.settings.max_new_tokens,
                num_beams=self.settings.beams,
                do_sample=False,
                pad_token_id=self.tokenizer.pad_token_id,
            )
        texts = self.tokenizer.batch_decode(out[:, inputs["lang_x"].shape[1] :], skip_special_tokens=True)
        return [one_line(text, "") for text in texts]


def load_checkpoint(network: Any, path: Path) -> None:
    """Load the trained parameters. Raises ValueError if one is missing, does not fit, or is not the model's.

    Expected are the perceiver's and every gated cross-attention layer's parameters; the library keeps several
    names for one parameter, any of which counts.
    """
    state = _renamed(_read(path), set(network.state_dict()))
    try:
        unexpected = network.load_state_dict(state, strict=False).unexpected_keys
    except RuntimeError as error:
        wrong = [line.strip() for line in str(error).splitlines()[1:] if line.strip()]
        raise ValueError(f"checkpoint {path} is of another model: {wrong[0] if wrong else error}") from None
    if unexpected:
        raise ValueError(
            f"checkpoint {path} holds {len(unexpected)} parameters that the model lacks, the first {unexpected[0]}; "
            "check language_model and cross_attention_every"
        )
    names = list(network.named_parameters(remove_duplicate=False))
    loaded = {id(parameter) for name, parameter in names if name in state}
    missing = [name for name, parameter in names if _is_trained(name) and id(parameter) not in loaded]
    if missing:
        raise ValueError(
            f"checkpoint {path} lacks {len(missing)} trained parameters, the first {missing[0]}; "
            "check language_model and cross_attention_every"
        )
    if id(network.lang_encoder.get_input_embeddings().weight) not in loaded:
        print(f"caption: {path} holds no token embeddings; those of the language model are used", file=sys.stderr)


def _renamed(state: dict[str, torch.Tensor], known: set[str]) -> dict[str, torch.Tensor]:
    """Return the state under today's names, without buffers that older transformers saved and today's do not."""
    names = {old: new for old, new in _RENAMED.items() if old not in known and new in known}
    return {names.get(n, n): tensor for n, tensor in state.items() if n in known or not _OLD_BUFFER.search(n)}


def _is_trained(name: str) -> bool:
    return name.startswith("perceiver.") or "gated_cross_attn_layer." in name


def _read(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"checkpoint {path} cannot be read: {str(error).splitlines()[0]}") from None
    state = state.get("model_state_dict", state)
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def _parts(settings: Settings) -> tuple[Any, Any, Any]:
    """Return model, image transform and tokenizer, with the hub switched off."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    own = settings.openflamingo
    vision = _quick_gelu_architecture(own.vision)
    weights = _file(own.vision_weights, "openflamingo.vision_weights", "the vision encoder's weights")
    factory = _library()
    with TemporaryDirectory() as folder:
        language = safe_view(Path(own.language_model), Path(folder), settings)
        try:
            with contextlib.redirect_stdout(sys.stderr):
                network, transform, tokenizer = factory(
                    vision,
                    str(weights),
                    str(language),
                    str(language),
                    cross_attn_every_n_layers=own.cross_attention_every,
                    use_local_files=True,
                    decoder_layers_attr_name=own.decoder_layers or None,
                )
        except (OSError, ValueError, KeyError, RuntimeError, AttributeError) as error:
            first = str(error).strip().splitlines()[0]
            raise ValueError(f"captioner `{settings.model}` cannot be built: {first}") from None
    return network, transform, tokenizer


def _library() -> Any:
    try:
        from open_flamingo import create_model_and_transforms
        from open_flamingo.src.flamingo_lm import FlamingoLMMixin
    except ImportError as error:
        raise ValueError(
            f"kind openflamingo needs the open-flamingo library ({error}); install envs/main.lock.txt"
        ) from None
    _let_generate_omit_the_mask(FlamingoLMMixin)
    return create_model_and_transforms


def _let_generate_omit_the_mask(mixin: Any) -> None:
    # transformers drops an attention mask of ones since 5.18; the library's forward demands one.
    if getattr(mixin.forward, "mask_is_optional", False):
        return
    original = mixin.forward

    def forward(self: Any, input_ids: Any, attention_mask: Any = None, **more: Any) -> Any:
        return original(self, input_ids, attention_mask, **more)

    forward.mask_is_optional = True  # type: ignore[attr-defined]
    mixin.forward = forward


def _quick_gelu_architecture(vision: str) -> str:
    """Return open_clip's name of an architecture, or of a .json file of one. Raises ValueError if it has plain GELU."""
    try:
        import open_clip
    except ImportError as error:
        raise ValueError(f"kind openflamingo needs open-clip-torch ({error}); install envs/main.lock.txt") from None
    if vision.endswith(".json"):
        open_clip.add_model_config(_file(vision, "openflamingo.vision", "an open_clip configuration"))
    name = Path(vision).name.removesuffix(".json")
    config = open_clip.get_model_config(name)
    if config is None:
        raise ValueError(f"openflamingo.vision is {vision!r}, which open_clip does not know; use ViT-L-14-quickgelu")
    if not config.get("quick_gelu"):
        raise ValueError(
            f"openflamingo.vision is {vision!r}, which has plain GELU; OpenAI's weights were trained with quick GELU, "
            "and captions would silently get worse; use ViT-L-14-quickgelu"
        )
    return name


def _file(path: str, key: str, what: str) -> Path:
    if not Path(path).is_file() or not path:
        raise ValueError(f"captioning.captioner.{key} must be a local file, {what}; got {path!r}")
    return Path(path)
