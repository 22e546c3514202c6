"""Classifiers of both kinds, and checkpoints that rebuild the network they hold."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pipeline.models import build_model, load_model, read_about, save_model
from pipeline.models.initialise import copy_unknown

torch.set_num_threads(1)


@pytest.mark.parametrize("classifier", ["linear", "conv"])
def test_checkpoint_rebuilds_classifiers_and_options(tmp_path: Path, classifier: str) -> None:
    model = build_model("small_cnn", [1, 1, 4], classifier=classifier, options={"norm": "sync"})
    model.train()(torch.randn(2, 3, 32, 32))
    save_model(tmp_path / "m.safetensors", model, {"step": 0})
    loaded = load_model(tmp_path / "m.safetensors", expect={"step": 0})
    assert (loaded.classifier, loaded.options, loaded.classes_per_step) == (classifier, {"norm": "sync"}, [1, 1, 4])
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(loaded(x).logits, model.eval()(x).logits)
    about = read_about(tmp_path / "m.safetensors")
    assert (about["classifier"], about["options"]) == (classifier, {"norm": "sync"})


def test_checkpoints_without_the_new_keys_are_linear(tmp_path: Path) -> None:
    model = build_model("small_cnn", [3, 2])
    header = {"about": json.dumps({"backbone": "small_cnn", "classes_per_step": [3, 2]})}
    save_file(model.state_dict(), tmp_path / "old.safetensors", metadata=header)
    loaded = load_model(tmp_path / "old.safetensors")
    assert (loaded.classifier, loaded.options, loaded.classes_per_step) == ("linear", {}, [3, 2])


def test_conv_classifier_is_that_of_ssul() -> None:
    model = build_model("small_cnn", [1, 3], classifier="conv")
    near, norm, activation, last = model.classifiers[1]  # type: ignore[misc]
    assert near.kernel_size == (3, 3) and near.bias is None and near.out_channels == model.head.channels
    assert isinstance(norm, nn.BatchNorm2d) and isinstance(activation, nn.ReLU)
    assert last.kernel_size == (1, 1) and last.out_channels == 3 and last.bias is not None
    assert near.weight.std().item() == pytest.approx((2 / (9 * near.in_channels)) ** 0.5, rel=0.05)
    assert {"classifiers.1.0.weight", "classifiers.1.3.bias"} <= set(model.state_dict())
    assert model(torch.randn(2, 3, 32, 32)).logits.shape[1] == 4


def test_new_conv_head_starts_from_the_unknown_head() -> None:
    model = build_model("small_cnn", [1, 1, 2, 3], classifier="conv").eval()
    copy_unknown(model.classifiers[0], model.classifiers[3])
    logits = model(torch.randn(1, 3, 32, 32)).logits
    torch.testing.assert_close(logits[:, 4:], logits[:, :1].expand(-1, 3, -1, -1))


def test_unknown_classifier() -> None:
    with pytest.raises(ValueError, match="unknown classifier `linaer`; did you mean `linear`"):
        build_model("small_cnn", [3], classifier="linaer")
