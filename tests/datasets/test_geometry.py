"""The zooming crop and whole-image evaluation, options beside the published transforms."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.config import Datasets
from pipeline.datasets.samples import EvalDataset, TrainListDataset
from pipeline.datasets.transforms import ScaleGeometry


def ramp(width: int, height: int) -> Image.Image:
    """A mask whose value tells the column."""
    return Image.fromarray(np.tile(np.arange(1, width + 1, dtype=np.uint8), (height, 1)))


def test_zoom_is_uniform_and_crops_or_pads() -> None:
    rng = random.Random(0)
    drawn = [ScaleGeometry.draw(100, 80, 96, rng) for _ in range(2000)]
    zooms = np.array([g.scaled[0] / 100 for g in drawn])
    assert zooms.min() < 0.52 and zooms.max() > 1.98 and abs(zooms.mean() - 1.25) < 0.03
    assert abs(np.mean([g.flip for g in drawn]) - 0.5) < 0.05
    for g in drawn:
        w, h = g.scaled
        assert min(0, w - 96) <= g.left <= max(0, w - 96) and min(0, h - 96) <= g.top <= max(0, h - 96)


@pytest.mark.parametrize("margin", [255, 0])
def test_margins_hold_the_margin_and_the_picture_is_black_there(margin: int) -> None:
    geometry = ScaleGeometry((20, 10), left=-3, top=-4, size=32, flip=False)
    labels = np.asarray(geometry.labels(ramp(20, 10), margin))
    assert (labels[4:14, 3:23] == np.arange(1, 21)).all()
    outside = np.ones((32, 32), bool)
    outside[4:14, 3:23] = False
    assert (labels[outside] == margin).all()
    picture = np.asarray(geometry.picture(Image.new("RGB", (20, 10), (9, 9, 9))))
    assert (picture[outside] == 0).all() and (picture[~outside] == 9).all()


def test_image_and_mask_move_together() -> None:
    rng = random.Random(5)
    for _ in range(50):
        geometry = ScaleGeometry.draw(60, 40, 48, rng)
        mask = Image.new("L", (60, 40))
        mask.paste(1, (20, 10, 44, 32))
        labels = np.asarray(geometry.labels(mask))
        seen = np.asarray(geometry.picture(mask.point(lambda v: v * 255)))
        inside = labels != 255
        assert np.mean((labels == 1)[inside] == (seen > 127)[inside]) > 0.93


def items(protocol: Path, **settings: object) -> list[dict]:
    facts = json.loads(protocol.read_text())
    rows = [{"image_id": r["id"], "role": "dataset", **r} for r in facts["train"][:12]]
    data = TrainListDataset(rows, facts, Datasets(train_size=160, **settings), "wilson", 0)  # type: ignore[arg-type]
    return [data[i] for i in range(len(data))]


def test_margins_are_void_or_background_as_chosen(protocols: list[Path]) -> None:
    void, zero = items(protocols[1], train_crop="scale"), items(protocols[1], train_crop="ssul")
    published = items(protocols[1])
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(void, zero, strict=True))
    assert not any(torch.equal(a["image"], b["image"]) for a, b in zip(void, published, strict=True))
    # Rule `wilson` makes drawn void background, so only the margin's fill differs, if that.
    assert all((z["mask"] <= 20).all() for z in zero)


def test_whole_images_keep_their_size_and_every_pixel(protocols: list[Path]) -> None:
    facts = json.loads(protocols[1].read_text())
    whole, crop = EvalDataset(facts, None), EvalDataset(facts, 96)
    for i, row in enumerate(facts["val"]):
        width, height = Image.open(row["image"]).size
        item = whole[i]
        assert item["image"].shape == (3, height, width) and item["mask"].shape == (height, width)
        truth = np.asarray(Image.open(row["mask"]))
        assert (item["mask"] == truth).all(), "every class is known after the last step, in id order"
        assert crop[i]["mask"].shape == (96, 96)
    assert Datasets(eval_crop="full").eval_side is None and Datasets().eval_side == 96
