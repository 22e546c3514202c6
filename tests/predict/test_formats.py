"""Masks on disk: palette PNGs, overlays, COCO, labelme, the table; listing files; the out folder. Without torch."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipeline.predict import coco, labelme
from pipeline.predict.areas import area_rows, as_csv
from pipeline.predict.images import ImageError, rgb_pixels
from pipeline.predict.listing import list_images
from pipeline.predict.out_folder import EXPORTED, out_folder
from pipeline.predict.pictures import blend, encoded, overlay, palette_mask, voc_palette
from pipeline.predict.result import Segmentation

NAMES = ("background", "road", "tree", "sky")


def blobs(height: int = 60, width: int = 90) -> np.ndarray:
    """A mask with nested regions, regions at the border, holes of background and single pixels."""
    picture = Image.new("L", (width, height), 0)
    draw = ImageDraw.Draw(picture)
    draw.ellipse((10, 8, 55, 52), fill=1)
    draw.ellipse((22, 20, 44, 40), fill=0)
    draw.rectangle((28, 26, 36, 34), fill=2)
    draw.polygon([(60, 0), (89, 0), (89, 30), (70, 22)], fill=3)
    draw.point([(5, 55), (80, 50)], fill=2)
    return np.array(picture)


def segmentation(mask: np.ndarray) -> Segmentation:
    confidence = np.where(mask == 1, 0.5, 0.75).astype(np.float32)
    return Segmentation(mask, np.zeros((0, *mask.shape), np.float32), confidence, NAMES)


def test_palette_is_voc_s() -> None:
    known = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 15: (192, 128, 128), 20: (0, 64, 128), 255: (224, 224, 192)}
    palette = voc_palette()
    assert {i: tuple(palette[i].tolist()) for i in known} == known


def test_palette_png_holds_the_mask(tmp_path: Path) -> None:
    mask = blobs()
    (tmp_path / "m.png").write_bytes(encoded(palette_mask(mask), "PNG"))
    with Image.open(tmp_path / "m.png") as stored:
        assert stored.mode == "P" and np.array_equal(np.asarray(stored), mask)
        assert stored.getpalette()[:6] == [0, 0, 0, 128, 0, 0]
        assert np.asarray(stored.convert("RGB"))[mask == 2][0].tolist() == [0, 128, 0]


def test_overlay_leaves_background_and_names_classes() -> None:
    mask, image = blobs(), np.full((60, 90, 3), 200, np.uint8)
    drawn = np.asarray(overlay(blend(image, mask, 0), mask, NAMES, 0))
    top = drawn[:60, :90]
    assert (top[mask == 0] == 200).all()
    assert np.abs(top[mask == 1].astype(int) - [160, 90, 90]).max() <= 1  # 45 % of 200, 55 % of (128, 0, 0)
    legend = drawn[60:].reshape(-1, 3)
    assert {(128, 0, 0), (0, 128, 0), (128, 128, 0)} <= set(map(tuple, legend.tolist()))
    everything = np.asarray(blend(image, np.zeros_like(mask), None))
    assert (everything != 200).any()


def decode(text: str, size: list[int]) -> np.ndarray:
    """COCO's compressed counts, read as their format says."""
    counts, place = [], 0
    while place < len(text):
        value, shift, more = 0, 0, True
        while more:
            group = ord(text[place]) - 48
            value |= (group & 31) << shift
            more, shift, place = bool(group & 32), shift + 5, place + 1
        if group & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
    flat = np.concatenate([np.full(count, i % 2, bool) for i, count in enumerate(counts)])
    return flat.reshape(size, order="F")


@pytest.mark.parametrize("seed", range(6))
def test_run_lengths_come_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    region = rng.random((37, 53)) < (0.01, 0.5, 0.99, 0.1, 0.0, 1.0)[seed]
    made = coco.rle(region)
    assert np.array_equal(decode(made["counts"], made["size"]), region)
    masks = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed; `decode` read them")
    theirs = masks.encode(np.asfortranarray(region.astype(np.uint8)))
    assert theirs["counts"].decode() == made["counts"] and theirs["size"] == made["size"]


def test_run_lengths_equal_what_pycocotools_wrote() -> None:
    region = blobs() == 1
    # mask.encode of pycocotools 2.0.11.
    assert coco.rle(region)["counts"] == PYCOCOTOOLS


PYCOCOTOOLS = (
    "bc09`16J6L2M4M2N2N2N2N2O0O2OZO@0?NG08OJ050M02O000000O030L040LO60J060J060J060J060"
    "J060J060J140MO30N100000010M041J070G0:3@0a0d0101N2N2N2N2N3L3N4J6JQo1"
)


def test_coco_annotations() -> None:
    result = segmentation(blobs())
    made = coco.annotate(result, 7, 100, background=0)
    assert [a["id"] for a in made] == [100, 101, 102] and {a["image_id"] for a in made} == {7}
    for annotation in made:
        region = result.mask == annotation["category_id"]
        rows, columns = np.nonzero(region)
        assert annotation["area"] == region.sum()
        box = [columns.min(), rows.min(), columns.max() - columns.min() + 1, rows.max() - rows.min() + 1]
        assert annotation["bbox"] == box
        assert np.array_equal(decode(annotation["segmentation"]["counts"], annotation["segmentation"]["size"]), region)
    assert made[0]["score"] == 0.5 and made[1]["score"] == 0.75
    assert [c["id"] for c in coco.categories(NAMES, 0)] == [1, 2, 3]
    assert [c["id"] for c in coco.categories(("wall", "floor"), None)] == [0, 1]
    json.dumps(made)


def drawn_in_order(shapes: list[dict], height: int, width: int) -> np.ndarray:
    """Fill each polygon over the earlier ones, by whether a pixel's centre lies in it."""
    from matplotlib.path import Path as Outline

    y, x = np.mgrid[:height, :width] + 0.5
    centres = np.column_stack([x.ravel(), y.ravel()])
    mask = np.zeros(height * width, np.uint8)
    for shape in shapes:
        inside = Outline([*shape["points"], shape["points"][0]], closed=True).contains_points(centres)
        mask[inside] = 0 if shape["label"] == "_background_" else NAMES.index(shape["label"])
    return mask.reshape(height, width)


def test_labelme_polygons_draw_the_mask() -> None:
    mask = blobs()
    exact = labelme.labelme_file(mask, NAMES, 0, "../a.jpg", tolerance=0)
    assert np.array_equal(drawn_in_order(exact["shapes"], *mask.shape), mask)
    made = labelme.labelme_file(mask, NAMES, 0, "../a.jpg")
    again = drawn_in_order(made["shapes"], *mask.shape)
    assert np.mean(again == mask) > 0.98
    count = [sum(len(shape["points"]) for shape in content["shapes"]) for content in (exact, made)]
    assert count[1] < count[0] / 2
    assert (made["imageHeight"], made["imageWidth"], made["imagePath"]) == (60, 90, "../a.jpg")
    assert made["imageData"] is None and {shape["shape_type"] for shape in made["shapes"]} == {"polygon"}
    assert all(len(shape["points"]) >= 3 for shape in made["shapes"])
    json.dumps(made)


def test_labelme_of_random_masks_is_exact() -> None:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 4, (8, 9), dtype=np.uint8)
    mask = np.kron(coarse, np.ones((4, 5), np.uint8))
    made = labelme.labelme_file(mask, NAMES, 0, "a.jpg", tolerance=0)
    assert np.array_equal(drawn_in_order(made["shapes"], *mask.shape), mask)


def test_area_rows_add_up() -> None:
    result = segmentation(blobs())
    rows = area_rows("a.jpg", result)
    assert [row.class_name for row in rows] == list(NAMES)
    assert sum(int(row.pixels) for row in rows) == 60 * 90 and sum(float(row.share) for row in rows) == pytest.approx(
        1, abs=1e-5
    )
    assert rows[1].confidence == 0.5 and rows[1].pixels == (result.mask == 1).sum()
    header, first, *_ = as_csv(rows).splitlines()
    assert header == "image,status,reason,width,height,class_id,class_name,pixels,share,confidence"
    assert first.startswith("a.jpg,done,,90,60,0,background,")


def test_images_of_every_kind(tmp_path: Path) -> None:
    rgb = np.array(Image.radial_gradient("L").resize((40, 30)).convert("RGB"))
    rgb[:, :10, 0] = 250
    upright = Image.fromarray(rgb)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(rgb_pixels(tmp_path / "turned.png"), rgb)
    with Image.open(tmp_path / "turned.png") as turned:
        assert np.array_equal(rgb_pixels(turned), rgb)
    few = upright.quantize(16)
    few.save(tmp_path / "palette.png")
    assert np.array_equal(rgb_pixels(tmp_path / "palette.png"), np.asarray(few.convert("RGB")))
    grey = upright.convert("L")
    grey.save(tmp_path / "grey.png")
    assert np.array_equal(rgb_pixels(str(tmp_path / "grey.png")), np.repeat(np.asarray(grey)[..., None], 3, 2))
    alpha = upright.convert("RGBA")
    alpha.putalpha(Image.fromarray(np.where(np.arange(40) < 20, 0, 255).astype(np.uint8)[None].repeat(30, 0)))
    alpha.save(tmp_path / "alpha.png")
    shown = rgb_pixels(tmp_path / "alpha.png")
    assert (shown[:, :20] == 255).all() and np.array_equal(shown[:, 20:], rgb[:, 20:])
    sixteen = np.asarray(grey).astype(np.uint16) * 257
    Image.fromarray(sixteen).save(tmp_path / "sixteen.png")
    assert np.array_equal(rgb_pixels(tmp_path / "sixteen.png")[..., 1], np.asarray(grey))
    upright.convert("CMYK").save(tmp_path / "cmyk.jpg")
    upright.convert("1").save(tmp_path / "bits.png")
    assert rgb_pixels(tmp_path / "cmyk.jpg").shape == rgb_pixels(tmp_path / "bits.png").shape == (30, 40, 3)
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "float.tiff")
    with pytest.raises(ImageError, match="floating point numbers"):
        rgb_pixels(tmp_path / "float.tiff")


def test_damaged_images_are_one_line(tmp_path: Path) -> None:
    whole = encoded(Image.effect_noise((64, 64), 60).convert("RGB"), "JPEG")
    for name, content in {"cut.jpg": whole[: len(whole) // 2], "text.jpg": b"<html>", "empty.png": b""}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError, match=f"{name} cannot be decoded") as caught:
            rgb_pixels(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_listing_is_natural_and_stems_are_unique(tmp_path: Path) -> None:
    for name in ("f10.png", "f2.png", "sub/f2.png", "f2.JPG", "notes.txt", ".hidden.png", ".git/x.png", "a.b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    listed = list_images(str(tmp_path))
    assert [i.shown for i in listed] == ["a.b.png", "f2.JPG", "f2.png", "f10.png", "notes.txt", "sub/f2.png"]
    assert [str(i.stem) for i in listed if not i.skipped] == ["a.b", "f2.JPG", "f2.png", "f10", "sub/f2"]
    assert [i.shown for i in listed if i.skipped] == ["notes.txt"]
    assert [i.shown for i in list_images(str(tmp_path / "**" / "f2.*"))] == ["f2.JPG", "f2.png", "sub/f2.png"]
    assert [i.shown for i in list_images(str(tmp_path / "notes.txt"))] == ["notes.txt"]
    with pytest.raises(ValueError, match="as a glob it matches nothing"):
        list_images(str(tmp_path / "*.gif"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_out_folder_is_replaced_only_if_it_is_ours(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with out_folder(out, []) as folder:
        folder.write("masks/a.png", b"1")
        folder.finish({})
    with out_folder(out, []) as folder:
        folder.write("masks/b.png", b"2")
        folder.finish({})
    assert set(contents(out)) == {"masks/b.png", "predict.json"}
    for change, message in (
        (lambda: (out / "masks" / "mine.png").write_bytes(b"x"), "holds masks/mine.png, which predict did not write"),
        (lambda: (out / "masks" / "b.png").write_bytes(b"edited"), "masks/b.png was changed since it was written"),
        (lambda: (out / "predict.json").write_text("{}"), "predict.json that predict did not write"),
        (lambda: (out / "predict.json").write_text("{"), "not valid JSON"),
        (lambda: (out / "predict.json").unlink(), "is not empty and was not written by predict"),
    ):
        if (out / "masks" / "mine.png").exists():
            (out / "masks" / "mine.png").unlink()
        change()
        before = contents(tmp_path)
        with pytest.raises(ValueError, match=message), out_folder(out, []) as folder:
            folder.write("masks/c.png", b"3")
        assert contents(tmp_path) == before


def test_out_folder_keeps_what_appears_during_a_run(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="is not empty and was not written"), out_folder(out, []) as folder:
        folder.write("a", b"1")
        out.mkdir()
        (out / "mine").write_text("mine")
    assert contents(tmp_path) == {"out/mine": b"mine"}


def test_out_folder_vanishes_with_an_error_and_never_takes_its_inputs(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), out_folder(tmp_path / "out", []) as folder:
        folder.write("a", b"1")
        raise RuntimeError
    assert not any(tmp_path.iterdir())
    with out_folder(tmp_path / "out", []) as folder:
        folder.write("a.png", b"1")
        folder.finish({})
    with (
        pytest.raises(ValueError, match="a.png, which is read; choose another folder"),
        out_folder(tmp_path / "out", [tmp_path / "out" / "a.png"]),
    ):
        pass
    with pytest.raises(ValueError, match="was not written by export"), out_folder(tmp_path / "out", [], EXPORTED):
        pass
    os.symlink(tmp_path / "out", tmp_path / "link")
    with pytest.raises(ValueError, match="is not a folder"), out_folder(tmp_path / "link", []):
        pass
