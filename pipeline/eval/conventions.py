"""What the scores of an experiment count and ignore, in words, to stand beside every output that has scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.config import Config


def conventions(config: Config) -> str:
    """Return one line: where the background counts, which pixels are ignored, and what of an image is scored."""
    included = "includes" if config.eval.background_in_mean else "excludes"
    return (
        f"old and new exclude background; all {included} it, all_no_background excludes it; first (classes of step 0) "
        f"includes it; {_pixels(config)}; {_geometry(config)}{_choice(config)}"
    )


def both_means(result: Mapping[str, Any]) -> str:
    """Return the mean IoU of an eval.json with the background and without, in percent."""
    return " and ".join(
        f"{'-' if result[key] is None else format(result[key], '.2f')} {words}"
        for key, words in (("all_with_background", "with background"), ("all_no_background", "without"))
    )


def _pixels(config: Config) -> str:
    if config.datasets.label_map != "mib":
        return "void is ignored, classes not yet learned count as background"
    other = ", and so is class 0 of ADE20K" if config.datasets.name == "ade" else ""
    return f"void and classes not yet learned are ignored{other}"


def _geometry(config: Config) -> str:
    side = config.datasets.eval_side
    return "whole images" if side is None else f"images are resized to a shorter side of {side} and centre-cropped"


def chosen_on_test_images(config: Config) -> bool:
    """Return whether the weights are of the epoch that scored best on the images that are scored again here."""
    return config.train.keep == "best"


def _choice(config: Config) -> str:
    if not chosen_on_test_images(config):
        return ""
    return "; train.keep is best: every step's weights are of the epoch that scored best on these same test images"
