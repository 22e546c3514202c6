"""The file that a training starts from: compared with weights.lock, and its SHA-256 recorded."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
import yaml

from pipeline.config import parse_config
from pipeline.pseudolabel import write_train_list
from pipeline.runtime.weights import WeightsError
from pipeline.train.assemble import assemble_base

pytestmark = pytest.mark.usefixtures("one_thread")


def assemble(weights: Path, protocols: list[Path], folder: Path, **train: Any) -> Any:
    """Step 0 on a torchvision ResNet-50."""
    values = {"backbone": "deeplabv3_resnet50", "pretrained": str(weights), **train}
    rows = folder / "rows.parquet"
    write_train_list(protocols[0], rows)
    config = parse_config({"train": {**values, "base": {"epochs": 1, "batch_size": 2}}})
    return assemble_base(config, "ce", 0, protocols[0], rows, folder)


def test_an_unknown_file_is_used_and_its_hash_recorded(
    protocols: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(1)
    published = torchvision.models.resnet50().state_dict()
    path = tmp_path / "ours.pth"
    torch.save(published, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    step = assemble(path, protocols, tmp_path)
    assert torch.equal(step.model.body.stem.conv.weight, published["conv1.weight"])
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["pretrained"] == digest
    assert f"weights {path}: not in weights.lock; SHA-256 {digest}" in capsys.readouterr().err
    with pytest.raises(ValueError, match="expected 00"):
        assemble(path, protocols, tmp_path, pretrained_sha256="00")


def test_a_known_name_with_another_content_is_refused(protocols: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "resnet50-0676ba61.pth"
    with path.open("wb") as file:
        file.truncate(round(97.781 * 2**20))
    advice = "download it from https://docs.pytorch.org/.*, or rename the file if it is meant to be another"
    with pytest.raises(WeightsError, match=rf"has SHA-256 \w{{64}}, expected 0676ba61; {advice}"):
        assemble(path, protocols, tmp_path)
    path.write_bytes(b"x")
    with pytest.raises(WeightsError, match=r"has 0\.000 MiB, expected 97\.781; download it from"):
        assemble(path, protocols, tmp_path)
    path.unlink()
    with pytest.raises(WeightsError, match="does not exist; download it from https://docs.pytorch.org"):
        assemble(path, protocols, tmp_path)
    with pytest.raises(WeightsError, match="weights .*none.pth do not exist; give their path, or download one of"):
        assemble(tmp_path / "none.pth", protocols, tmp_path)
