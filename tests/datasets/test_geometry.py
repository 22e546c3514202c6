"""The zooming crop and whole-image evaluation, options beside the published transforms."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.config import Datasets
from pipeline.datasets.protocol_file import read_protocol
from pipeline.datasets.samples import EvalDataset, TrainListDataset
from pipeline.datasets.transforms import ScaleGeometry, TrainGeometry, eval_geometry, normalise, pixels


def ramp(width: int, height: int) -> Image.Image:
    """A mask whose value tells the column."""
    return Image.fromarray(np.tile(np.arange(1, width + 1, dtype=np.uint8), (height, 1)))


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Soft colours under noise, so that every kernel's rounding shows."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), int)
    return Image.fromarray((smooth + rng.integers(-20, 21, smooth.shape)).clip(0, 255).astype(np.uint8))


def by_pillow(geometry: TrainGeometry | ScaleGeometry, image: Image.Image, nearest: bool, margin: int) -> np.ndarray:
    """What the published transforms do, written with Pillow alone."""
    kernel = Image.Resampling.NEAREST if nearest else Image.Resampling.BILINEAR
    if isinstance(geometry, TrainGeometry):
        top, left, height, width = geometry.box
        out = image.crop((left, top, left + width, top + height)).resize((geometry.size, geometry.size), kernel)
    else:
        out = Image.new(image.mode, (geometry.size, geometry.size), margin)
        out.paste(image.resize(geometry.scaled, kernel), (-geometry.left, -geometry.top))
    return np.asarray(out.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if geometry.flip else out)


def drawn(seed: int, width: int, height: int, size: int) -> list[TrainGeometry | ScaleGeometry]:
    rng = random.Random(seed)
    zoomed = [ScaleGeometry.draw(width, height, size, rng) for _ in range(6)]
    return [TrainGeometry.draw(width, height, size, rng, (0.5, 2.0)) for _ in range(6)] + zoomed


SHAPES = [(125, 94, 128), (128, 96, 96), (83, 125, 64)]


@pytest.mark.parametrize(("width", "height", "size"), SHAPES)
def test_pictures_are_resampled_as_the_originals_do_to_the_last_bit(width: int, height: int, size: int) -> None:
    image = photo(width, height)
    mask = Image.fromarray(np.random.default_rng(1).integers(0, 22, (height, width), dtype=np.uint8))
    for geometry in drawn(2, width, height, size):
        picture = geometry.picture(image)
        assert np.array_equal(picture.permute(1, 2, 0), by_pillow(geometry, image, False, 0))
        assert np.array_equal(geometry.labels(mask, 255), by_pillow(geometry, mask, True, 255))
        plain = np.asarray(by_pillow(geometry, image, False, 0), np.float32) / np.float32(255)
        mean, std = np.float32((0.485, 0.456, 0.406)), np.float32((0.229, 0.224, 0.225))
        found = normalise(picture)
        assert found.is_contiguous() and np.array_equal(found.permute(1, 2, 0), (plain - mean) / std)


@pytest.mark.parametrize(("width", "height", "size"), SHAPES)
def test_tensors_differ_from_pictures_by_rounding_alone(width: int, height: int, size: int) -> None:
    image = photo(width, height)
    for geometry in drawn(3, width, height, size):
        ours, theirs = geometry.picture(pixels(image)), geometry.picture(image)
        assert ours.shape == theirs.shape and int((ours.int() - theirs.int()).abs().max()) <= 2
        columns = ramp(width, height)
        ours, theirs = geometry.labels(pixels(columns)), geometry.labels(columns)
        assert ours.dtype == torch.uint8 and int((ours.int() - theirs.int()).abs().max()) <= 1, "a neighbour at a tie"


def test_evaluation_resizes_as_torchvision_does() -> None:
    # 512 x 500 / 375 is 682.67: the published evaluations keep 682 columns of it.
    image = photo(500, 375)
    resized = image.resize((682, 512), Image.Resampling.BILINEAR).crop((85, 0, 597, 512))
    assert np.array_equal(eval_geometry(image, 512), resized)
    assert eval_geometry(pixels(image), 512).shape == (3, 512, 512)
    assert eval_geometry(image, None) is image


def test_zoom_is_uniform_and_crops_or_pads() -> None:
    rng = random.Random(0)
    drawn = [ScaleGeometry.draw(100, 80, 96, rng) for _ in range(2000)]
    zooms = np.array([g.scaled[0] / 100 for g in drawn])
    assert zooms.min() < 0.52 and zooms.max() > 1.98 and abs(zooms.mean() - 1.25) < 0.03
    assert abs(np.mean([g.flip for g in drawn]) - 0.5) < 0.05


@pytest.mark.parametrize(
    ("scaled", "margin"),
    # The width lacks 46 pixels: 23 on each side; with them the height of 40 is 86 and lacks 10 more: 5. A picture of
    # 200 x 41 lacks 55 rows: 28 (and one row is cut), one of 41 x 200 as many columns, and 28 rows beyond either end.
    [((50, 40), 28), ((100, 80), 8), ((96, 96), 0), ((200, 150), 0), ((200, 41), 28), ((41, 200), 28), ((90, 95), 3)],
)
def test_small_pictures_get_one_margin_on_all_sides(
    scaled: tuple[int, int], margin: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.datasets.transforms.ZOOM", (1.0, 1.0))
    rng = random.Random(0)
    found = [ScaleGeometry.draw(*scaled, 96, rng) for _ in range(3000)]
    for side, places in zip(scaled, ({g.left for g in found}, {g.top for g in found}), strict=True):
        assert places == set(range(-margin, side + margin - 96 + 1))


@pytest.mark.parametrize("margin", [255, 0])
def test_margins_hold_the_margin_and_the_picture_is_black_there(margin: int) -> None:
    geometry = ScaleGeometry((20, 10), left=-3, top=-4, size=32, flip=False)
    labels = geometry.labels(ramp(20, 10), margin).numpy()
    assert (labels[4:14, 3:23] == np.arange(1, 21)).all()
    outside = np.ones((32, 32), bool)
    outside[4:14, 3:23] = False
    assert (labels[outside] == margin).all()
    picture = geometry.picture(Image.new("RGB", (20, 10), (9, 9, 9))).numpy()
    assert (picture[:, outside] == 0).all() and (picture[:, ~outside] == 9).all()


def test_image_and_mask_move_together() -> None:
    rng = random.Random(5)
    for _ in range(50):
        geometry = ScaleGeometry.draw(60, 40, 48, rng)
        mask = Image.new("L", (60, 40))
        mask.paste(1, (20, 10, 44, 32))
        labels = geometry.labels(mask).numpy()
        seen = geometry.picture(mask.point(lambda v: v * 255))[0].numpy()
        inside = labels != 255
        assert np.mean((labels == 1)[inside] == (seen > 127)[inside]) > 0.93


def items(protocol: Path, **settings: object) -> list[dict]:
    step = read_protocol(protocol)
    rows = [
        {"image_id": r.id, "role": "dataset", "image": r.image, "mask": r.mask, "labels": r.labels}
        for r in step.train[:12]
    ]
    data = TrainListDataset(rows, step, Datasets(train_size=160, **settings), "wilson", 0)  # type: ignore[arg-type]
    return [data[i] for i in range(len(data))]


def test_margins_are_void_or_background_as_chosen(protocols: list[Path]) -> None:
    void, zero = items(protocols[1], train_crop="scale"), items(protocols[1], train_crop="ssul")
    published = items(protocols[1])
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(void, zero, strict=True))
    assert not any(torch.equal(a["image"], b["image"]) for a, b in zip(void, published, strict=True))
    # Rule `wilson` makes drawn void background, so only the margin's fill differs, if that.
    assert all((z["mask"] <= 20).all() for z in zero)


def test_whole_images_keep_their_size_and_every_pixel(protocols: list[Path]) -> None:
    step = read_protocol(protocols[1])
    whole, crop = EvalDataset(step, None), EvalDataset(step, 96)
    for i, row in enumerate(step.val):
        width, height = Image.open(row.image).size
        item = whole[i]
        assert item["image"].shape == (3, height, width) and item["mask"].shape == (height, width)
        truth = np.asarray(Image.open(row.mask))
        assert (item["mask"] == truth).all(), "every class is known after the last step, in id order"
        assert crop[i]["mask"].shape == (96, 96)
    assert Datasets(eval_crop="full").eval_side is None and Datasets().eval_side == 96
