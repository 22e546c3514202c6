"""RaSP (CoLLAs 2023): WILSON, and a prior from the names of old and new classes (recent_methods.md 1).

It subclasses WILSON, which the paper builds on: everything but one loss and two means is WILSON's, so that whatever is
changed in WILSON must change here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from pipeline import distributed
from pipeline.losses import semantic_prior
from pipeline.methods import Forward, StepInfo, register
from pipeline.methods.wilson import Wilson, WilsonSettings
from pipeline.models.network import SegmentationModel
from pipeline.runtime.sentences import sentence_encoder

NARROW = 0.05
"""Targets of a new class that differ by less say nothing about where it is."""


class RaspSettings(WilsonSettings):
    """WILSON's settings, and those of the semantic prior as released."""

    tau: float = 5.0
    """How sharply similarity falls with the distance of two names (option tau)."""
    semantic_weight: float = 1.0
    """Weight of l_SEM (lambda of the paper); 0 leaves it out."""
    similarity: Literal["transformer", "file"] = "transformer"
    """transformer: names embedded by the packaged MiniLM; file: a matrix of the user's own."""
    similarity_file: str = ""
    """JSON with `names` and the matrix `similarity` in their order, for `similarity: file`."""
    cls_mask: Literal["none", "per_image"] = "none"
    """l_CLS over all images as released, or per_image: over those with a new label (it matters with replay)."""
    sss_norm: Literal["agreeing", "batch"] = "agreeing"
    """l_SSS divided by the images that agree with their pseudo-mask as released, or by the batch as WILSON does."""


def prompts(names: Sequence[str]) -> list[str]:
    """Return the sentence of every class in channel order; the background, which is first, is `unknown`."""
    return [f"this is an image of {name}" for name in ("unknown", *names[1:])]


@register
class Rasp(Wilson):
    """WILSON's losses + semantic_weight * l_SEM, from the first epoch on.

    Source: RaSP (CoLLAs 2023); recent_methods.md 1.3 and 1.4.
    """

    name = "rasp"
    title = "RaSP"
    Settings = RaspSettings

    def __init__(self, settings: Any, info: StepInfo) -> None:
        super().__init__(settings, info)
        self._similarity: Tensor | None = None

    def init_classifier(self, model: SegmentationModel) -> None:
        """Check that every class has a name. Raises ValueError if not."""
        if self.info.n_total != len(self.info.names):
            raise ValueError(f"rasp needs the names of {self.info.n_total} classes, got {len(self.info.names)}")

    def similarity(self) -> Tensor:
        """Return the similarities (N, N) in channel order, computed when first asked for and saved with the step."""
        if self._similarity is None:
            if self.settings.similarity == "file":
                self._similarity = read_similarity(self.settings.similarity_file, self.info.names)
            else:
                self._similarity = embedded_similarity(self.info.names, self.settings.tau)
            self._warn_of_narrow_targets(self._similarity)
        return self._similarity

    def _warn_of_narrow_targets(self, similarity: Tensor) -> None:
        n_old = self.info.n_old
        table = semantic_prior.semantic_table(similarity[n_old:, :n_old])
        for name, row in zip(self.info.names[n_old:], table, strict=True):
            spread = float(row.max() - row.min())
            if spread < NARROW and distributed.is_main():
                text = f"rasp: the targets of `{name}` differ by {spread:.3f} alone, its name resembles no old class"
                print(text, file=sys.stderr, flush=True)

    def _localizer_terms(self, forward: Forward, localized: Tensor, old: Tensor) -> dict[str, Tensor]:
        terms = super()._localizer_terms(forward, localized, old)
        labels, n_old = forward.batch.labels[:, -self.info.n_new :], self.info.n_old
        if self.settings.cls_mask == "per_image":
            known = forward.batch.labels if self.settings.all_labels else labels
            terms["cls"] = semantic_prior.labelled_classification(
                localized, known, self.settings.pooling, count=forward.count("labelled")
            )
        if self.settings.semantic_weight:
            table = self.similarity().to(old.device)[n_old:, :n_old]
            targets = semantic_prior.semantic_targets(table, old)
            terms["sem"] = self.settings.semantic_weight * semantic_prior.semantic_loss(localized, targets, labels)
        return terms

    def _self_supervision(self, forward: Forward, localized: Tensor, pseudo: Tensor) -> Tensor:
        if self.settings.sss_norm == "batch":
            return super()._self_supervision(forward, localized, pseudo)
        return semantic_prior.agreeing_self_supervision(
            localized, pseudo, forward.batch.labels, self.info.n_new, count=forward.count("agreeing")
        )

    def state(self) -> dict[str, Tensor]:
        """Return the similarities, so that a resumed step and a later look need no encoder."""
        return {"similarity": self.similarity()} if self.settings.semantic_weight else {}

    def load_state(self, state: Mapping[str, Tensor], resumed: bool) -> None:
        """Take the similarities of this very step back; another step has other classes."""
        if resumed and "similarity" in state:
            self._similarity = state["similarity"]


def embedded_similarity(names: Sequence[str], tau: float) -> Tensor:
    """Return the similarities (N, N), float32, of class names under the packaged sentence model."""
    # Asked for amid a training step: neither its random numbers nor its precision may change by it or in it.
    with torch.random.fork_rng(), torch.autocast("cpu", enabled=False):
        vectors = sentence_encoder().encode(prompts(names), normalize_embeddings=True, show_progress_bar=False)
        return semantic_prior.name_similarity(torch.tensor(vectors, dtype=torch.float32), tau)


def read_similarity(path: str, names: Sequence[str]) -> Tensor:
    """Return the similarities (N, N), float32, of a JSON file in the order of `names`.

    Raises ValueError, one line, for a file that cannot be read, a matrix that is not square over its names or not
    positive, and a class that it lacks.
    """
    try:
        content = json.loads(Path(path).read_text())
        known, matrix = list(content["names"]), torch.tensor(content["similarity"], dtype=torch.float32)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"methods.rasp.similarity_file `{path}` has no `names` and `similarity` ({error})") from None
    if matrix.shape != (len(known), len(known)) or not bool((matrix > 0).all()):
        shape = "x".join(map(str, matrix.shape))
        raise ValueError(f"methods.rasp.similarity_file `{path}`: {len(known)} names need as many positive rows and "
                         f"columns, got {shape}")  # fmt: skip
    if missing := [name for name in names if name not in known]:
        raise ValueError(f"methods.rasp.similarity_file `{path}` lacks the classes {', '.join(missing)}")
    chosen = [known.index(name) for name in names]
    return matrix[chosen][:, chosen].contiguous()
