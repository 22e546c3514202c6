"""Any image-text-to-text model of the transformers library, by hub name or local folder."""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from pipeline.config import Captioner as Settings


class TransformersCaptioner:
    """Beam search without sampling; prompt and special tokens are stripped from what comes back.

    A local folder is loaded with the hub switched off. Code from the hub is never run.
    """

    def __init__(self, settings: Settings) -> None:
        if Path(settings.model).is_dir():
            os.environ["HF_HUB_OFFLINE"] = "1"
        from transformers import AutoModelForImageTextToText, AutoProcessor

        self.settings, self.model, self.revision = settings, settings.model, settings.revision
        where: dict[str, Any] = {"revision": settings.revision} if settings.revision else {}
        dtype = settings.dtype if settings.dtype == "auto" else getattr(torch, settings.dtype)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            self.processor = AutoProcessor.from_pretrained(settings.model, **where)
            network: Any = AutoModelForImageTextToText.from_pretrained(settings.model, dtype=dtype, **where)
        except (OSError, ValueError, KeyError) as error:
            first = str(error).strip().splitlines()[0]
            raise ValueError(f"captioner `{settings.model}` cannot be loaded: {first}") from None
        self.network = network.to(self.device).eval()
        self.processor.tokenizer.padding_side = "left"

    def caption(self, images: Sequence[Image.Image]) -> list[str]:
        """Return one line of text per RGB image."""
        inputs = self._inputs([image.convert("RGB") for image in images])
        with torch.inference_mode():
            out = self.network.generate(
                **inputs,
                max_new_tokens=self.settings.max_new_tokens,
                num_beams=self.settings.beams,
                do_sample=False,
            )
        given = inputs.get("input_ids")
        if given is not None and torch.equal(out[:, : given.shape[1]], given):
            out = out[:, given.shape[1] :]
        texts = self.processor.batch_decode(out, skip_special_tokens=True)
        return [self._clean(text) for text in texts]

    def _inputs(self, images: list[Image.Image]) -> dict[str, Any]:
        prompt = self.settings.prompt
        if getattr(self.processor, "chat_template", None):
            content = [
                {"type": "image"},
                {"type": "text", "text": prompt or "Describe the image in one sentence."},
            ]
            message = [{"role": "user", "content": content}]
            text = self.processor.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
            encoded = self.processor(
                text=[text] * len(images), images=[[i] for i in images], return_tensors="pt", padding=True
            )
        elif prompt:
            encoded = self.processor(text=[prompt] * len(images), images=images, return_tensors="pt", padding=True)
        else:
            encoded = self.processor(images=images, return_tensors="pt")
        accepted = inspect.signature(self.network.forward).parameters
        return {key: self._cast(value) for key, value in encoded.items() if key in accepted or "kwargs" in accepted}

    def _cast(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        value = value.to(self.device)
        return value.to(self.network.dtype) if value.is_floating_point() else value

    def _clean(self, text: str) -> str:
        line = " ".join(text.split())
        prompt = " ".join(self.settings.prompt.split())
        return line.removeprefix(prompt).strip() if prompt else line
