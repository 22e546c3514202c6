"""Any image-text-to-text model of the transformers library, by hub name or local folder."""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from pipeline.captioning.captioners import Captioner
from pipeline.captioning.captioners.generation import device_of, dtype_of, one_line, to_device
from pipeline.captioning.captioners.snapshot import check_local_code, commit_of, digest, files_of
from pipeline.config import Captioner as Settings
from pipeline.runtime.shipped import located


class TransformersCaptioner(Captioner):
    """Beam search without sampling; prompt and special tokens are stripped from what comes back.

    A local folder is loaded with the hub switched off. A model's own code runs only if the settings
    say so and pin it; `revision` is the commit that was loaded, or the digest of a local folder.
    """

    def __init__(self, settings: Settings) -> None:
        model = located(settings.model)
        folder = Path(model)
        if folder.is_dir():
            os.environ["HF_HUB_OFFLINE"] = "1"
            check_local_code(folder, settings)
        from transformers import AutoModelForImageTextToText, AutoProcessor

        self.settings, self.model = settings, settings.model
        where: dict[str, Any] = {"trust_remote_code": settings.trust_remote_code}
        try:
            self.revision = digest(files_of(folder)) if folder.is_dir() else commit_of(model, settings.revision)
            if not folder.is_dir():
                where["revision"] = self.revision
            self.processor = AutoProcessor.from_pretrained(model, **where)
            network: Any = AutoModelForImageTextToText.from_pretrained(model, dtype=dtype_of(settings), **where)
        except (OSError, ValueError, KeyError, ImportError) as error:
            first = str(error).strip().splitlines()[0]
            raise ValueError(f"captioner `{settings.model}` cannot be loaded: {first}") from None
        self.device = device_of(settings)
        self.network = network.to(self.device).eval()
        self.processor.tokenizer.padding_side = "left"
        accepted = inspect.signature(self.network.forward).parameters.values()
        self._accepts = {parameter.name for parameter in accepted}
        self._accepts_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted)

    def prepare(self, images: Sequence[Image.Image]) -> dict[str, Any]:
        """Return the model's inputs on the CPU."""
        rgb = [image.convert("RGB") for image in images]
        prompt = self.settings.prompt
        if getattr(self.processor, "chat_template", None):
            text = self.processor.apply_chat_template(_question(prompt), add_generation_prompt=True, tokenize=False)
            encoded = self.processor(
                text=[text] * len(rgb), images=[[image] for image in rgb], return_tensors="pt", padding=True
            )
        elif prompt:
            encoded = self.processor(text=[prompt] * len(rgb), images=rgb, return_tensors="pt", padding=True)
        else:
            encoded = self.processor(images=rgb, return_tensors="pt")
        return {key: value for key, value in encoded.items() if self._takes(key)}

    def generate(self, prepared: dict[str, Any]) -> list[str]:
        """Return one line of text per image."""
        inputs = {key: to_device(value, self.device, self.network.dtype) for key, value in prepared.items()}
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
        return [one_line(text, self.settings.prompt) for text in texts]

    def _takes(self, key: str) -> bool:
        # GIT refuses token types although its processor makes them.
        return key in self._accepts or (self._accepts_all and key != "token_type_ids")


def _question(prompt: str) -> list[dict[str, Any]]:
    content = [{"type": "image"}, {"type": "text", "text": prompt or "Describe the image in one sentence."}]
    return [{"role": "user", "content": content}]
