"""Tiny random models of nine architectures, saved as a hub model would be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WORDS = [
    "<s>", "<pad>", "</s>", "<unk>", "[CLS]", "[SEP]", "[PAD]", "[UNK]", "a", "photo", "of", "dog", "cat", "an",
    "image",
    "<image>", "<fake_token_around_image>", "<global-img>", "<row_1_col_1>", "\n", "<|vision_start|>", "<|vision_end|>",
    "<|image_pad|>", "<|video_pad|>", "<end_of_utterance>", "bus", "grass", "red", "two", "man", "on", "the",
]  # fmt: skip
_CHAT = (
    "{% for m in messages %}{% for c in m['content'] %}{% if c['type'] == 'image' %}IMAGE"
    "{% else %}{{ ' ' + c['text'] }}{% endif %}{% endfor %}{% endfor %}{% if add_generation_prompt %} a{% endif %}"
)
_IDEFICS_TOKENS = {
    "image_token": "<image>", "fake_image_token": "<fake_token_around_image>", "global_image_token": "<global-img>",
    "end_of_utterance_token": "<end_of_utterance>",
}  # fmt: skip
_TEXT = {
    "vocab_size": len(WORDS), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "intermediate_size": 32, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2,
    "max_position_embeddings": 512,
}  # fmt: skip
_VISION = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "image_size": 32,
    "patch_size": 16,
}  # fmt: skip


def tokenizer(**more: Any) -> Any:
    """Return a word-level tokenizer of WORDS; those in angle brackets are special."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    special = [word for word in WORDS if word.startswith("<") and word not in ("<s>", "<pad>", "</s>", "<unk>")]
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
        cls_token="[CLS]", sep_token="[SEP]", additional_special_tokens=special, **more,
    )  # fmt: skip


def _chat(image: str) -> str:
    return _CHAT.replace("IMAGE", image)


def save_git(folder: Path) -> None:
    """GIT."""
    from transformers import CLIPImageProcessor, GitConfig, GitForCausalLM, GitProcessor

    config = GitConfig(
        vision_config=_VISION, vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, bos_token_id=0, pad_token_id=1, eos_token_id=2,
    )  # fmt: skip
    GitForCausalLM(config).save_pretrained(folder)
    images = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    GitProcessor(image_processor=images, tokenizer=tokenizer()).save_pretrained(folder)


def save_blip(folder: Path) -> None:
    """BLIP."""
    from transformers import BlipConfig, BlipForConditionalGeneration, BlipImageProcessor, BlipProcessor

    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    text = {**small, "vocab_size": len(WORDS), "encoder_hidden_size": 16, "bos_token_id": 0, "pad_token_id": 1,
            "eos_token_id": 2, "sep_token_id": 5, "max_position_embeddings": 40}  # fmt: skip
    # BLIP's own default of the vision encoder's initial weights is 1e-10, with which no image shows.
    vision = {**_VISION, "initializer_range": 0.02}
    config = BlipConfig(vision_config=vision, text_config=text, projection_dim=16)
    BlipForConditionalGeneration(config).save_pretrained(folder)
    images = BlipImageProcessor(size={"height": 32, "width": 32})
    BlipProcessor(image_processor=images, tokenizer=tokenizer()).save_pretrained(folder)


def save_blip2(folder: Path) -> None:
    """BLIP-2 with an OPT language model."""
    from transformers import Blip2Config, Blip2ForConditionalGeneration, Blip2Processor, BlipImageProcessor

    former = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16,
              "encoder_hidden_size": 16, "vocab_size": len(WORDS)}  # fmt: skip
    text = {"model_type": "opt", "vocab_size": len(WORDS), "hidden_size": 16, "word_embed_proj_dim": 16, "ffn_dim": 16,
            "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 64, "bos_token_id": 0,
            "pad_token_id": 1, "eos_token_id": 2}  # fmt: skip
    config = Blip2Config(
        vision_config=_VISION, qformer_config=former, text_config=text, num_query_tokens=4,
        image_token_index=WORDS.index("<image>"),
    )  # fmt: skip
    Blip2ForConditionalGeneration(config).save_pretrained(folder)
    images = BlipImageProcessor(size={"height": 32, "width": 32})
    Blip2Processor(image_processor=images, tokenizer=tokenizer(), num_query_tokens=4).save_pretrained(folder)


def save_llava(folder: Path) -> None:
    """LLaVA."""
    from transformers import CLIPImageProcessor, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

    config = LlavaConfig(
        vision_config={"model_type": "clip_vision_model", **_VISION, "projection_dim": 16},
        text_config={"model_type": "llama", **_TEXT},
        image_token_index=WORDS.index("<image>"), vision_feature_layer=-1,
    )  # fmt: skip
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    LlavaProcessor(
        image_processor=CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        tokenizer=tokenizer(), patch_size=16, vision_feature_select_strategy="default", image_token="<image>",
        num_additional_image_tokens=1, chat_template=_chat("<image>"),
    ).save_pretrained(folder)  # fmt: skip


def _save_idefics(folder: Path, names: str) -> None:
    import transformers

    config = getattr(transformers, f"{names}Config")(
        vision_config=_VISION, text_config={"model_type": "llama", **_TEXT}, scale_factor=1,
        image_token_id=WORDS.index("<image>"), pad_token_id=1,
    )  # fmt: skip
    getattr(transformers, f"{names}ForConditionalGeneration")(config).save_pretrained(folder)
    sizes = {"size": {"longest_edge": 32}, "max_image_size": {"longest_edge": 32}}
    more: dict[str, Any] = {}
    if names == "SmolVLM":
        more["video_processor"] = transformers.SmolVLMVideoProcessor()
    words = tokenizer()
    for attribute, token in _IDEFICS_TOKENS.items():
        setattr(words, attribute, token)
        setattr(words, f"{attribute}_id", WORDS.index(token))
    getattr(transformers, f"{names}Processor")(
        image_processor=getattr(transformers, f"{names}ImageProcessor")(**sizes, do_image_splitting=False),
        tokenizer=words, image_seq_len=4, chat_template=_chat("<image>"), **more,
    ).save_pretrained(folder)  # fmt: skip


def save_idefics3(folder: Path) -> None:
    """Idefics3."""
    _save_idefics(folder, "Idefics3")


def save_smolvlm(folder: Path) -> None:
    """SmolVLM."""
    _save_idefics(folder, "SmolVLM")


def save_qwen(folder: Path) -> None:
    """Qwen2.5-VL."""
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 32,
              "patch_size": 8, "spatial_merge_size": 2, "window_size": 32, "fullatt_block_indexes": [0]}  # fmt: skip
    text = {**_TEXT, "rope_scaling": {"type": "mrope", "rope_type": "default", "mrope_section": [2, 3, 3]}}
    config = Qwen2_5_VLConfig(
        vision_config=vision, text_config=text, image_token_id=WORDS.index("<|image_pad|>"),
        video_token_id=WORDS.index("<|video_pad|>"), vision_start_token_id=WORDS.index("<|vision_start|>"),
        vision_end_token_id=WORDS.index("<|vision_end|>"),
    )  # fmt: skip
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(folder)
    pixels = {"patch_size": 8, "merge_size": 2, "min_pixels": 16 * 16, "max_pixels": 64 * 64}
    Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(**pixels), tokenizer=tokenizer(),
        video_processor=Qwen2VLVideoProcessor(**pixels),
        chat_template=_chat("<|vision_start|><|image_pad|><|vision_end|>"),
    ).save_pretrained(folder)  # fmt: skip


def save_qwen3(folder: Path) -> None:
    """Qwen3-VL."""
    from transformers import (
        Qwen2VLImageProcessor,
        Qwen3VLConfig,
        Qwen3VLForConditionalGeneration,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
    )

    vision = {"depth": 2, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 32,
              "patch_size": 8, "spatial_merge_size": 2, "num_position_embeddings": 64,
              "deepstack_visual_indexes": [0]}  # fmt: skip
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "mrope_interleaved": True, "rope_theta": 10000.0}
    config = Qwen3VLConfig(
        vision_config=vision, text_config={**_TEXT, "head_dim": 16, "rope_parameters": rope},
        image_token_id=WORDS.index("<|image_pad|>"), video_token_id=WORDS.index("<|video_pad|>"),
        vision_start_token_id=WORDS.index("<|vision_start|>"), vision_end_token_id=WORDS.index("<|vision_end|>"),
    )  # fmt: skip
    Qwen3VLForConditionalGeneration(config).save_pretrained(folder)
    pixels = {"patch_size": 8, "merge_size": 2, "min_pixels": 16 * 16, "max_pixels": 64 * 64}
    Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(**pixels), tokenizer=tokenizer(),
        video_processor=Qwen3VLVideoProcessor(patch_size=8, merge_size=2),
        chat_template=_chat("<|vision_start|><|image_pad|><|vision_end|>"),
    ).save_pretrained(folder)  # fmt: skip


def save_florence2(folder: Path) -> None:
    """Florence-2."""
    from transformers import CLIPImageProcessor, Florence2Config, Florence2ForConditionalGeneration, Florence2Processor

    vision = {"depths": [1, 1], "patch_size": [7, 3], "patch_stride": [4, 2], "patch_padding": [3, 1],
              "patch_prenorm": [False, True], "embed_dim": [8, 16], "num_heads": [2, 2], "num_groups": [2, 2],
              "window_size": 4, "projection_dim": 16, "drop_path_rate": 0.0}  # fmt: skip
    layers = {f"{part}_{name}": n for part in ("encoder", "decoder")
              for name, n in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 16))}  # fmt: skip
    text = {"model_type": "bart", "vocab_size": len(WORDS), "d_model": 16, "max_position_embeddings": 64,
            "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2,
            "forced_eos_token_id": 2, **layers}  # fmt: skip
    config = Florence2Config(
        vision_config=vision, text_config=text, image_token_id=WORDS.index("<image>"), pad_token_id=1,
        bos_token_id=0, eos_token_id=2, decoder_start_token_id=2,
    )  # fmt: skip
    Florence2ForConditionalGeneration(config).save_pretrained(folder)
    images = CLIPImageProcessor(size={"height": 32, "width": 32}, do_center_crop=False)
    images.image_seq_length = 17
    words = tokenizer(extra_special_tokens={"image_token": "<image>"})
    Florence2Processor(image_processor=images, tokenizer=words).save_pretrained(folder)


ARCHITECTURES = {
    "git": save_git, "blip": save_blip, "blip2": save_blip2, "llava": save_llava, "idefics3": save_idefics3,
    "smolvlm": save_smolvlm, "qwen2_5_vl": save_qwen, "qwen3_vl": save_qwen3, "florence2": save_florence2,
}  # fmt: skip
"""How to save each; torch's seed decides the weights."""
