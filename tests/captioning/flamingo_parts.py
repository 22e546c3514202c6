"""A tiny random OpenFlamingo: quick-GELU CLIP, language model, and the checkpoint of what the library trains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

VISION = "tiny-test-quickgelu"
WORDS = "an image of a dog cat bus on the grass in front red two man boat with and water street".split()  # noqa: SIM905


MODEL_CODE = """
import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import CausalLMOutputWithPast


class OwnConfig(PretrainedConfig):
    model_type = "mosaic_gpt"

    def __init__(self, vocab_size=32, d_model=32, n_layers=2, **more):
        self.vocab_size, self.d_model, self.n_layers = vocab_size, d_model, n_layers
        super().__init__(use_cache=False, **more)


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.mix = nn.LayerNorm(width), nn.Linear(width, width)

    def forward(self, x, attention_mask=None):
        keep = attention_mask[:, :, None].to(x.dtype)
        mean = (self.norm(x) * keep).cumsum(1) / keep.cumsum(1).clamp(min=1)
        return x + torch.tanh(self.mix(mean))


class OwnMosaicGPT(PreTrainedModel, GenerationMixin):
    config_class = OwnConfig

    def __init__(self, config):
        super().__init__(config)
        parts = {"wte": nn.Embedding(config.vocab_size, config.d_model)}
        parts["blocks"] = nn.ModuleList(Block(config.d_model) for _ in range(config.n_layers))
        # Without a turn, tied embeddings repeat the last word whatever the image shows.
        parts["turn"] = nn.Linear(config.d_model, config.d_model)
        self.transformer = nn.ModuleDict(parts)
        self.post_init()

    def forward(self, input_ids, attention_mask=None, labels=None, past_key_values=None, use_cache=False, **more):
        x = self.transformer["wte"](input_ids)
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        for block in self.transformer["blocks"]:
            x = block(x, attention_mask=mask)
        return CausalLMOutputWithPast(logits=self.transformer["turn"](x) @ self.transformer["wte"].weight.T)

    def prepare_inputs_for_generation(self, input_ids, attention_mask=None, **more):
        return {"input_ids": input_ids, "attention_mask": attention_mask}
"""


def clip_config(quick_gelu: bool = True) -> dict[str, Any]:
    """Return an open_clip configuration of two small towers."""
    text = {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1}
    vision = {"image_size": 32, "layers": 1, "width": 64, "head_width": 32, "patch_size": 16}
    return {"embed_dim": 16, "quick_gelu": quick_gelu, "vision_cfg": vision, "text_cfg": text}


def register_clip(folder: Path, name: str = VISION, quick_gelu: bool = True) -> None:
    """Make open_clip know the tiny architecture."""
    import open_clip

    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(clip_config(quick_gelu)))
    open_clip.add_model_config(folder / f"{name}.json")


def save_tokenizer(folder: Path) -> int:
    """Write a word-level tokenizer; return its size."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<unk>", "<|endoftext|>", *WORDS]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.decoder = decoders.WordPiece()
    made = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", eos_token="<|endoftext|>")
    made.save_pretrained(folder)
    return len(words)


def save_neox(folder: Path) -> None:
    """Write a tiny GPT-NeoX, the language model of OpenFlamingo-4B."""
    import torch
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=save_tokenizer(folder), hidden_size=32, num_hidden_layers=4, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=64,
    )  # fmt: skip
    GPTNeoXForCausalLM(config).save_pretrained(folder)


def save_mpt(folder: Path) -> None:
    """Write a tiny MPT as OpenFlamingo-9B's snapshot is: its config names code that must not run."""
    import torch
    from transformers import MptConfig, MptForCausalLM

    torch.manual_seed(0)
    config = MptConfig(vocab_size=save_tokenizer(folder), d_model=32, n_layers=4, n_heads=2, max_seq_len=64)
    MptForCausalLM(config).save_pretrained(folder)
    path = folder / "config.json"
    code = {"AutoConfig": "configuration_mpt.MPTConfig", "AutoModelForCausalLM": "modeling_mpt.MPTForCausalLM"}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": code}))
    (folder / "modeling_mpt.py").write_text("raise RuntimeError('unpinned code ran')\n")
    (folder / "configuration_mpt.py").write_text("raise RuntimeError('unpinned code ran')\n")


def save_code(folder: Path) -> str:
    """Write a tiny language model that brings its own code, shaped like OpenFlamingo-3B's; return the code's digest."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from pipeline.captioning.captioners.snapshot import code_digest

    size = save_tokenizer(folder)
    (folder / "modeling_own.py").write_text(MODEL_CODE)
    code = {"AutoConfig": "modeling_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnMosaicGPT"}
    config = {"model_type": "mosaic_gpt", "vocab_size": size, "d_model": 32, "n_layers": 2, "auto_map": code}
    (folder / "config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    loaded = AutoConfig.from_pretrained(folder, trust_remote_code=True)
    model = AutoModelForCausalLM.from_config(loaded, trust_remote_code=True)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return code_digest(folder)


def save_parts(folder: Path, language: str, every: int, more: dict[str, Any] | None = None) -> dict[str, Any]:
    """Write all parts into `folder`; return settings of the captioner.

    The cross-attention gates are opened, because at random initialisation images have no effect.
    """
    import open_clip
    import torch

    from pipeline.captioning.captioners import openflamingo
    from pipeline.config import Captioner

    register_clip(folder / "configs")
    torch.manual_seed(1)
    clip = open_clip.create_model(VISION)
    torch.save(clip.state_dict(), folder / "clip.pt")
    own = {
        "vision": str(folder / "configs" / f"{VISION}.json"),
        "vision_weights": str(folder / "clip.pt"),
        "language_model": language,
        "cross_attention_every": every,
    }
    settings = {
        "kind": "openflamingo",
        "model": str(folder / "checkpoint.pt"),
        "max_new_tokens": 8,
        "openflamingo": own,
    }
    settings |= more or {}
    torch.manual_seed(2)
    network, _, _ = openflamingo._parts(Captioner(**settings))
    for name, parameter in network.named_parameters():
        if name.endswith(("attn_gate", "ff_gate")):
            torch.nn.init.constant_(parameter, 2.0)
        elif "gated_cross" in name and parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=1.0)
    torch.save(trained_state(network), folder / "checkpoint.pt")
    return settings


def trained_state(network: Any) -> dict[str, Any]:
    """Return what the library's training script saves: trained parameters and embeddings, under the decoder's names."""
    named = network.named_parameters(remove_duplicate=False)
    kept = {name: p for name, p in named if p.requires_grad or "embed" in name or "lm_head" in name}
    skipped = ("lang_encoder.old_decoder_blocks", "lang_encoder.gated_cross_attn_layers", "vision_encoder")
    return {name: p.detach().clone() for name, p in kept.items() if not name.startswith(skipped)}
