"""Saliency in training samples: the mask's geometry, the threshold, and errors that name the rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.config import Datasets
from pipeline.datasets import DatasetError
from pipeline.datasets.images import open_mask
from pipeline.datasets.protocol_file import Protocol, read_protocol
from pipeline.datasets.saliency import open_saliency
from pipeline.datasets.samples import TrainListDataset

SETTINGS = Datasets(train_size=48)


@pytest.fixture
def protocol(protocols: list[Path]) -> Protocol:
    return read_protocol(protocols[0])


@pytest.fixture
def rows(protocol: Protocol) -> list[dict[str, Any]]:
    return [
        {"image_id": r.id, "role": "dataset", "image": r.image, "mask": r.mask, "labels": list(r.labels)}
        for r in protocol.train[:12]
    ]


def test_saliency_moves_with_the_mask(rows: list[dict[str, Any]], protocol: Protocol, tmp_path: Path) -> None:
    # Each map marks exactly the foreground of its mask, void included, so that after any geometry the two must agree.
    for row in rows:
        Image.fromarray((open_mask(row["mask"]) > 0).astype(np.uint8) * 255).save(tmp_path / f"{row['image_id']}.png")
    data = TrainListDataset(rows, protocol, SETTINGS, "plop", seed=0, saliency=tmp_path)
    plain = TrainListDataset(rows, protocol, SETTINGS, "plop", seed=0)
    shares = []
    for epoch in range(4):
        data.set_epoch(epoch)
        plain.set_epoch(epoch)
        for index in range(len(rows)):
            item, without = data[index], plain[index]
            assert item["saliency"].shape == (48, 48) and item["saliency"].dtype == torch.bool
            # Classes of a later step are background in the mask of step 0 and stay salient.
            assert (item["saliency"] | (item["mask"] == 0)).all()
            known = set(rows[index]["labels"]) <= set(protocol.order)
            assert not known or torch.equal(item["saliency"], item["mask"] != 0)
            assert torch.equal(item["image"], without["image"]) and torch.equal(item["mask"], without["mask"])
            shares.append(item["saliency"].float().mean().item())
    assert len(set(shares)) > len(rows)


def test_no_folder_means_no_saliency_and_not_an_empty_one(rows: list[dict[str, Any]], protocol: Protocol) -> None:
    assert "saliency" not in TrainListDataset(rows, protocol, SETTINGS, "plop", seed=0)[0]


def test_images_without_a_mask_have_saliency_too(
    rows: list[dict[str, Any]], protocol: Protocol, tmp_path: Path
) -> None:
    web = rows[0] | {"role": "web", "mask": ""}
    width, height = Image.open(web["image"]).size
    Image.new("L", (width, height), 255).save(tmp_path / f"{web['image_id']}.png")
    item = TrainListDataset([web], protocol, SETTINGS, "plop", seed=0, saliency=tmp_path)[0]
    assert item["saliency"].all() and (item["mask"] == 255).all()


def test_a_missing_damaged_or_foreign_map_names_the_rule(
    rows: list[dict[str, Any]], protocol: Protocol, tmp_path: Path
) -> None:
    data = TrainListDataset(rows, protocol, SETTINGS, "plop", seed=0, saliency=tmp_path)
    path = tmp_path / f"{rows[0]['image_id']}.png"
    with pytest.raises(DatasetError, match=rf"{path} does not exist; run the rule `detect_saliency`"):
        data[0]
    path.write_bytes(b"\x89PNG cut")
    with pytest.raises(DatasetError, match=rf"{path} cannot be decoded.*`detect_saliency`"):
        data[0]
    Image.new("L", (7, 5)).save(path)
    with pytest.raises(DatasetError, match=r"is 7x5, its image \d+x\d+.*`detect_saliency`"):
        data[0]


def test_threshold_counts_from_its_value_on(tmp_path: Path) -> None:
    path = tmp_path / "map.png"
    Image.fromarray(np.array([[0, 1, 127, 128, 255]], np.uint8)).save(path)
    assert open_saliency(path).tolist() == [[False, False, False, True, True]]
    assert open_saliency(path, 1.0).tolist() == [[False, False, False, False, True]]
    # SSUL's rule for binary maps: anything above 0.
    assert open_saliency(path, 0.0).tolist() == [[False, True, True, True, True]]
    for wrong in (-0.1, 1.1, 128):
        with pytest.raises(ValueError, match="expected a number from 0 to 1"):
            open_saliency(path, wrong)


def test_the_reader_needs_no_runtime(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = "import sys, pipeline.datasets.saliency; assert not {'onnxruntime', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
