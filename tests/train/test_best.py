"""The score by which `keep: best` chooses an epoch."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.config import Datasets
from pipeline.datasets.protocol_file import read_protocol
from pipeline.methods import StepInfo, get, settings_of
from pipeline.models import build_model
from pipeline.train.best import StepScore

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(("label_map", "counted"), [("method", "plop"), ("plop", "plop"), ("mib", "mib")])
def test_the_score_follows_the_rule_that_the_step_is_trained_by(
    protocols: list[Path], label_map: str, counted: str
) -> None:
    whole = read_protocol(protocols[1])
    protocol = replace(whole, val=whole.val[:12])
    method = get("ft")(settings_of("ft", {}), StepInfo("voc", "15-5", 1, (16, 5), epochs=1, seed=0))
    assert method.label_rule == "plop"
    model = build_model("small_cnn", [16, 5])
    with torch.no_grad():
        for classifier in model.classifiers:
            classifier.weight.zero_()
            classifier.bias.zero_()
        model.classifiers[0].bias[0] = 1
    masks = [np.asarray(Image.open(row.mask)) for row in protocol.val]
    pixels = np.bincount(np.concatenate([mask.ravel() for mask in masks]), minlength=256)
    background, old, new = pixels[0], pixels[1:16].sum(), pixels[16:21]
    assert old and new.any()
    # Everything is predicted as background: its IoU is its share, that of every class shown is 0.
    truth = background + (old if counted == "plop" else 0)
    expected = truth / (truth + new.sum()) / (1 + np.count_nonzero(new))
    score = StepScore(protocol, Datasets(label_map=label_map, eval_crop="full"), method)
    assert score(model) == pytest.approx(expected, abs=1e-6)
    assert model.training
