"""The section of captions, nouns and the noun filter."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, model_validator

from pipeline.config.section import Section


class OpenFlamingo(Section):
    """Only read for kind openflamingo: parts of the model, all local files; `model` above is the checkpoint."""

    vision: str = "ViT-L-14-quickgelu"
    """open_clip architecture; OpenAI's weights need a quick-GELU one"""
    vision_weights: str = ""
    """file of the vision encoder"""
    language_model: str = ""
    """local folder of language model and tokenizer"""
    cross_attention_every: int = Field(2, ge=1)
    """layers between two cross-attentions: 1 for 3B, 2 for 4B, 4 for 9B"""
    decoder_layers: str = ""
    """attribute of the decoder layers, if the library does not know the language model"""
    environment: Literal["main", "isolated"] = "main"
    """main, or isolated (3B: envs/openflamingo3b.lock.txt)"""


class Captioner(Section):
    """Where captions come from; the paper's is OpenFlamingo (web_wilss.md 6.1)."""

    kind: Literal["transformers", "openflamingo", "alt_text", "labels", "table"] = "transformers"
    """transformers, openflamingo, alt_text (the page's own), labels (ImageNet classes), table"""
    name: str = "tiny"
    """folder name of the captions"""
    model: str = "pipeline/miniweb/captioner"
    """folder or hub name; openflamingo: checkpoint; labels: weights; table: file or folder"""
    revision: str = ""
    """commit of a hub model; pin one"""
    trust_remote_code: bool = False
    """true runs code of the model's repository; needs a full commit hash as revision"""
    prompt: str = ""
    """text before the caption, for models that take one"""
    beams: int = Field(3, ge=1)
    """beams of the search; 3 in the paper's code (web_wilss.md 6.1)"""
    max_new_tokens: int = Field(24, ge=1)
    """longest caption, tokens; 40 in the paper's code (web_wilss.md 6.1)"""
    batch_size: int = Field(32, ge=1)
    """images; halved when memory does not suffice"""
    dtype: Literal["float64", "float32", "bfloat16", "float16", "auto"] = "float32"
    """float64 (captions the same for every batch size), float32, bfloat16, float16, auto"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto, cpu, cuda"""
    decode_threads: int = Field(2, ge=1)
    """threads that open images while the model generates"""
    label_threshold: float = Field(0.15, ge=0, le=1)
    """labels: least probability of an ImageNet class that is named"""
    openflamingo: OpenFlamingo = OpenFlamingo()

    @model_validator(mode="after")
    def _consistent(self) -> Captioner:
        if self.trust_remote_code and not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", self.revision):
            raise ValueError(
                f"trust_remote_code runs the model's own code, so revision must be a full commit hash, or the digest "
                f"of a local folder's code; got {self.revision!r}"
            )
        if self.kind == "openflamingo" and not self.openflamingo.language_model:
            raise ValueError("kind is openflamingo, so openflamingo.language_model must name a local folder")
        return self


class Nouns(Section):
    """Noun extraction from captions (web_wilss.md 6.2)."""

    nn_only: bool = False
    """true: the released rule, Penn tag NN alone; false: plural nouns too"""


class NounFilter(Section):
    """Nearest-neighbour cosine similarity of caption nouns (ECCV 2024; web_wilss.md 6.3 to 6.5)."""

    similarity: Literal["embedding", "wordnet", "wordnet_hypernyms"] = "embedding"
    """embedding, wordnet (released score), wordnet_hypernyms"""
    threshold: float = Field(0.6, ge=-1, le=1)
    """least similarity of an image that is kept (web_wilss.md 6.5)"""
    thresholds: dict[str, float] = Field(default_factory=dict)
    """per class, over `threshold`; `python -m pipeline.captioning calibrate` finds them"""
    nouns: int = Field(2, ge=1)
    """first nouns of a caption that are compared (web_wilss.md 6.5)"""
    replay_rule: Literal["paper", "classes", "released"] = "paper"
    """paper: nouns of both captions; classes: class words; released: first noun, class names, two picks"""
    embedding_model: str = ""
    """sentence-transformers folder or hub name; empty: the packaged MiniLM"""
    cache: str = "data/cache/embeddings"
    """folder of vectors by model and word; empty: none"""


class Captioning(Section):
    """Captions, nouns and the noun filter."""

    captioner: Captioner = Captioner()
    vocabulary: str = ""
    """file of class words, one class a line; empty: pipeline/captioning/vocabulary.tsv"""
    nouns: Nouns = Nouns()
    noun_filter: NounFilter = NounFilter()
