"""Training of the tiny captioner: a small image-to-text transformer in the transformers library's own format.

Swin encoder, TrOCR decoder, joined as a VisionEncoderDecoderModel and loaded like any hub model. It learns from
drawn scenes whose seeds never occur in MiniVOC or on the mini web.
"""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from pipeline.artifacts import atomic_dir, file_sha256
from pipeline.miniweb.drawing import STYLES, describe, draw_scene, sample_class_ids
from pipeline.miniweb.drawing.captions import word_for
from pipeline.miniweb.minivoc import SIZES
from pipeline.runtime.progress import Progress

SIDE = 64
_TAG = 0xCA97
_PHOTO_SHARE = 0.7
BATCH = 64
PEAK_RATE = 1.5e-3
CARD = "MODEL_CARD.md"


@dataclass(frozen=True)
class Sample:
    """A drawn training scene: pixels (SIDE, SIDE, 3) uint8, visible classes, setting, style."""

    pixels: NDArray[np.uint8]
    class_ids: tuple[int, ...]
    setting: str
    style: str


def train_captioner(out: Path, *, seed: int, scenes: int, epochs: int) -> dict[str, Any]:
    """Train on `scenes` drawn images and write the model folder `out`; return what training.json holds.

    Deterministic in `seed` on one machine with the same number of threads.
    """
    torch.manual_seed(seed)
    samples = _draw(seed, scenes, 0)
    tokenizer = _tokenizer()
    model, classifier = _model(tokenizer), nn.Linear(_WIDTH, 20)
    _optimise(model, classifier, tokenizer, samples, seed, epochs)
    accuracy = measure(model.eval(), tokenizer, _draw(seed, 600, 1))
    about = {
        "command": f"python -m pipeline.miniweb train-captioner --seed {seed} --scenes {scenes} --epochs {epochs}",
        "shown_class_named_percent": accuracy,
        "parameters": sum(p.numel() for p in model.parameters()),
        "torch": str(torch.__version__),
        "machine": platform.machine(),
    }
    _save(out, model, tokenizer, about)
    return about


def measure(model: Any, tokenizer: Any, samples: Sequence[Sample]) -> dict[str, float]:
    """Return per style the percentage of scenes of which a visible class is named in the caption."""
    hits: dict[str, list[bool]] = {style: [] for style in STYLES}
    for start in range(0, len(samples), BATCH):
        part = samples[start : start + BATCH]
        with torch.inference_mode():
            out = model.generate(pixel_values=_pixels(part), num_beams=3, max_new_tokens=24)
        for sample, text in zip(part, tokenizer.batch_decode(out, skip_special_tokens=True), strict=True):
            if sample.class_ids:
                words = {w for c in sample.class_ids for w in _words(c)}
                hits[sample.style].append(any(word in f" {text} " for word in words))
    return {style: round(100 * sum(h) / len(h), 1) for style, h in hits.items() if h}


_WIDTH = 192


def _model(tokenizer: Any) -> Any:
    from transformers import (
        SwinConfig,
        SwinModel,
        TrOCRConfig,
        TrOCRForCausalLM,
        VisionEncoderDecoderModel,
    )

    encoder = SwinModel(
        SwinConfig(
            image_size=SIDE, patch_size=4, embed_dim=_WIDTH // 4, depths=[2, 2, 2], num_heads=[3, 6, 12],
            window_size=4, drop_path_rate=0.0,
        ),
        add_pooling_layer=False,
    )  # fmt: skip
    decoder = TrOCRForCausalLM(
        TrOCRConfig(
            vocab_size=len(tokenizer), d_model=128, decoder_layers=2, decoder_attention_heads=4, decoder_ffn_dim=256,
            cross_attention_hidden_size=_WIDTH, max_position_embeddings=40, dropout=0.1,
            bos_token_id=0, pad_token_id=1, eos_token_id=2, decoder_start_token_id=0,
        )
    )  # fmt: skip
    model = VisionEncoderDecoderModel(encoder=encoder, decoder=decoder)
    for config in (model.config, model.generation_config):
        config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 0, 1, 2
    return model


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    rng = np.random.default_rng((_TAG, 9))
    words = set(["a", "an", "the", "view", "of", "and", "with", "near", "next", "to", "person", "standing"])
    for class_id in range(1, 21):
        for _ in range(60):
            scene = _Shown((class_id, class_id % 20 + 1), _SETTINGS[int(rng.integers(len(_SETTINGS)))])
            words |= set(describe(scene, rng).split())
            words |= set(describe(_Shown((class_id,), scene.setting), rng).split())
    vocabulary = {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", *sorted(words)])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


_SETTINGS = ("sky", "grass", "sea", "field", "street", "room", "studio")


@dataclass(frozen=True)
class _Shown:
    class_ids: tuple[int, ...]
    setting: str


def _words(class_id: int) -> set[str]:
    rng = np.random.default_rng(0)
    return {f" {word_for(rng, class_id).split()[-1]} " for _ in range(12)}


def _draw(seed: int, count: int, part: int) -> list[Sample]:
    progress = Progress("captioner scenes", count)
    samples = []
    with ProcessPoolExecutor(2) as pool:
        for sample in pool.map(partial(_sample, seed, part), range(count), chunksize=64):
            samples.append(sample)
            progress.update()
    return samples


def _sample(seed: int, part: int, index: int) -> Sample:
    rng = np.random.default_rng((_TAG, seed, part, index))
    style = "photo" if rng.random() < _PHOTO_SHARE else STYLES[1 + index % 5]
    classes = sample_class_ids(rng, index % 20 + 1)
    scene = draw_scene(rng, classes, size=SIZES[int(rng.integers(len(SIZES)))], style=style)
    small = scene.image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return Sample(np.asarray(small), scene.class_ids, scene.setting, style)


def _optimise(
    model: Any, classifier: nn.Module, tokenizer: Any, samples: Sequence[Sample], seed: int, epochs: int
) -> None:
    parameters = [*model.parameters(), *classifier.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=PEAK_RATE, weight_decay=0.02)
    steps = epochs * (len(samples) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, steps, pct_start=0.1)
    progress = Progress("captioner training", steps * BATCH, interval=10)
    model.train()
    for part, rng in _batches(samples, seed, epochs):
        pixels = _pixels(part)
        if rng.random() < 0.5:
            pixels = pixels.flip(3)
        labels = _labels(part, tokenizer, rng)
        hidden = model.encoder(pixels).last_hidden_state
        # Naming the classes from pooled features is an auxiliary task that makes the encoder learn fast.
        named = F.binary_cross_entropy_with_logits(classifier(hidden.mean(dim=1)), _many_hot(part)) * 4
        told = model(encoder_outputs=(hidden,), labels=labels).loss
        optimizer.zero_grad()
        (named + told).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        progress.update(
            len(part), note=f"caption loss {float(told.detach()):.3f}, class loss {float(named.detach()):.3f}"
        )


def _batches(samples: Sequence[Sample], seed: int, epochs: int) -> Iterator[tuple[list[Sample], np.random.Generator]]:
    for epoch in range(epochs):
        rng = np.random.default_rng((_TAG, seed, 2, epoch))
        order = rng.permutation(len(samples))
        for start in range(0, len(samples) - BATCH + 1, BATCH):
            yield [samples[i] for i in order[start : start + BATCH]], rng


def _pixels(part: Sequence[Sample]) -> Tensor:
    stacked = torch.from_numpy(np.stack([sample.pixels for sample in part])).permute(0, 3, 1, 2)
    return stacked.float() / 127.5 - 1


def _labels(part: Sequence[Sample], tokenizer: Any, rng: np.random.Generator) -> Tensor:
    texts = [f"{describe(_Shown(s.class_ids, s.setting), rng)} </s>" for s in part]
    ids = tokenizer(texts, padding=True, return_tensors="pt")["input_ids"]
    return ids.masked_fill(ids == tokenizer.pad_token_id, -100)


def _many_hot(part: Sequence[Sample]) -> Tensor:
    out = torch.zeros(len(part), 20)
    for row, sample in enumerate(part):
        out[row, [c - 1 for c in sample.class_ids]] = 1
    return out


def _save(out: Path, model: Any, tokenizer: Any, about: dict[str, Any]) -> None:
    from transformers import TrOCRProcessor, ViTImageProcessor

    images = ViTImageProcessor(
        do_resize=True, size={"height": SIDE, "width": SIDE}, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    with atomic_dir(out) as folder:
        model.half().save_pretrained(folder)
        TrOCRProcessor(image_processor=images, tokenizer=tokenizer).save_pretrained(folder)
        digest = file_sha256(folder / "model.safetensors")
        (folder / "training.json").write_text(json.dumps({**about, "sha256": digest}, indent=1) + "\n")
        if (out / CARD).exists():
            shutil.copy(out / CARD, folder / CARD)
