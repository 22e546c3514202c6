"""Fitting, saving, selecting; and that neither the encoder nor the size of an image is what is learned."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.artifacts import FOURIER, MANIFEST, NEW_CLASSES, NOUN_FILTER, ArtifactError, read_table, write_table
from pipeline.config import Discriminator as Settings
from pipeline.config import Selection
from pipeline.fourier_filter import Discriminator, select_images
from pipeline.fourier_filter.pictures import load_square
from pipeline.fourier_filter.training import fit
from pipeline.metrics.auroc import auroc
from pipeline.miniweb.drawing import draw_scene

SMALL = Settings(resize=56, crop=48, epochs=8, batch_size=32)


def scenes(seed: int, style: str, count: int, classes: range) -> list[Image.Image]:
    return [
        draw_scene(np.random.default_rng((seed, i)), [classes[i % len(classes)]], style=style).image
        for i in range(count)
    ]


def stack(images: list[Image.Image]) -> torch.Tensor:
    pixels = np.stack([load_square(image, SMALL.resize) for image in images])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def again(image: Image.Image, quality: int, scale: float = 1.0) -> Image.Image:
    buffer = io.BytesIO()
    size = (round(image.width * scale), round(image.height * scale))
    image.resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue()))


@pytest.fixture(scope="module")
def fitted() -> Discriminator:
    torch.set_num_threads(1)
    web = scenes(2, "noisy", 60, range(1, 11)) + scenes(3, "upscaled", 60, range(1, 11))
    model, validation = fit(stack(scenes(1, "photo", 120, range(1, 11))), stack(web), SMALL, SMALL.epochs)
    assert validation > 0.9
    return model


def test_transfers_to_unseen_classes(fitted: Discriminator) -> None:
    unseen = range(11, 21)
    photo, off = (fitted.scores(stack(scenes(s, k, 40, unseen))).numpy() for s, k in ((5, "photo"), (6, "noisy")))
    assert auroc(photo, off) > 0.95


@pytest.mark.parametrize(("quality", "scale"), [(85, 1.0), (95, 1.0), (90, 1.12)])
def test_encoder_and_size_are_not_what_is_learned(fitted: Discriminator, quality: int, scale: float) -> None:
    images = scenes(7, "photo", 60, range(11, 21))
    plain = fitted.scores(stack(images)).numpy()
    changed = fitted.scores(stack([again(image, quality, scale) for image in images])).numpy()
    assert abs(auroc(plain, changed) - 0.5) < 0.15


def test_same_domain_twice_is_not_separated() -> None:
    torch.set_num_threads(1)
    first, second = scenes(11, "photo", 100, range(1, 11)), scenes(12, "photo", 100, range(1, 11))
    model, _ = fit(stack([again(i, 95) for i in first]), stack([again(i, 85) for i in second]), SMALL, 4)
    a, b = scenes(13, "photo", 60, range(11, 21)), scenes(14, "photo", 60, range(11, 21))
    value = auroc(*(model.scores(stack([again(i, q) for i in part])).numpy() for part, q in ((a, 95), (b, 85))))
    assert abs(value - 0.5) < 0.2


def test_saved_and_loaded_scores_are_equal(fitted: Discriminator, tmp_path: Path) -> None:
    path = tmp_path / "d.safetensors"
    fitted.save(path, {})
    pictures = stack(scenes(8, "photo", 6, range(1, 21)))
    assert torch.equal(Discriminator.load(path).scores(pictures), fitted.scores(pictures))
    path.write_bytes(b"nonsense")
    with pytest.raises(ArtifactError, match="fit it again"):
        Discriminator.load(path)


def test_too_few_images_are_an_error() -> None:
    with pytest.raises(ValueError, match="at least 2 images of each domain, got 1"):
        fit(stack(scenes(1, "photo", 1, range(1, 3))), stack(scenes(1, "noisy", 9, range(1, 3))), SMALL, 1)


def test_calibrated_score_is_a_log_ratio(fitted: Discriminator) -> None:
    photo, noisy = (fitted.scores(stack(scenes(9, k, 40, range(1, 11)))) for k in ("photo", "noisy"))
    assert float((photo > 0).float().mean()) > 0.75 and float((noisy < 0).float().mean()) > 0.75


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """A shard of twelve images, six of them noisy; three fail the noun filter."""
    import tarfile

    manifest, nouns = [], []
    with tarfile.open(tmp_path / "step1-00000.tar", "w") as tar:
        for i in range(12):
            data = io.BytesIO()
            draw_scene(np.random.default_rng((20, i)), [18], style="photo" if i % 2 else "noisy").image.save(
                data, "JPEG"
            )
            info = tarfile.TarInfo(f"im{i:02d}.jpg")
            info.size = len(data.getvalue())
            tar.addfile(info, io.BytesIO(data.getvalue()))
            row: dict = {name: "" for name in MANIFEST.names}
            numbers = {"http_status": 200, "width": 1, "height": 1, "bytes": 1}
            row |= {
                "image_id": f"im{i:02d}",
                "rank": i,
                "status": "kept",
                "shard": "step1-00000",
                "class_ids": [18],
                **numbers,
            }
            manifest.append(row)
            noun: dict = {name: "" for name in NOUN_FILTER.names} | {
                "image_id": f"im{i:02d}",
                "class_id": 18,
                "nouns": [],
            }
            passed = i not in (1, 2, 3)
            noun |= {"labels": [8, 18], "score": 0.9, "threshold": 0.6, "kept": passed}
            nouns.append(noun | ({} if passed else {"reason": "below_threshold"}))
    write_table(tmp_path / "manifest.parquet", manifest, MANIFEST)
    write_table(tmp_path / "nouns.parquet", nouns, NOUN_FILTER)
    return tmp_path


def test_selection_under_every_combination_of_filters(pool: Path, fitted: Discriminator) -> None:
    fitted.save(pool / "d.safetensors", {})
    settings = Selection(rule="threshold_then_topk", budget=4)
    out = pool / "fourier.parquet", pool / "chosen.parquet"
    select_images(pool / "manifest.parquet", pool / "nouns.parquet", pool, pool / "d.safetensors", settings, *out)
    scores = {row["image_id"]: row["score"] for row in read_table(out[0], FOURIER)}
    rows = read_table(out[1], NEW_CLASSES)
    assert len(scores) == 12 and len(rows) == 48, "a row per candidate and combination"
    kept = {
        f: [r["image_id"] for r in rows if r["filters"] == f and r["kept"]] for f in ("none", "noun", "fourier", "both")
    }
    assert kept["none"] == ["im00", "im01", "im02", "im03"]
    assert kept["noun"] == ["im00", "im04", "im05", "im06"]
    assert set(kept["fourier"]) == set(sorted(scores, key=lambda i: -scores[i])[:4])
    eligible = {i: s for i, s in scores.items() if i not in ("im01", "im02", "im03")}
    assert set(kept["both"]) == set(sorted(eligible, key=lambda i: -eligible[i])[:4])
    assert {tuple(r["labels"]) for r in rows if r["filters"] == "both"} == {(8, 18)}
    assert {tuple(r["labels"]) for r in rows if r["filters"] == "none"} == {(18,)}
    assert all(r["reason"] for r in rows if not r["kept"])
    assert rows[0]["image"].endswith("step1-00000.tar::im00.jpg")


def test_without_a_discriminator_the_noun_filter_alone_selects(pool: Path) -> None:
    out = pool / "fourier.parquet", pool / "chosen.parquet"
    settings = Selection(rule="threshold_then_topk", budget=4)
    select_images(pool / "manifest.parquet", pool / "nouns.parquet", pool, None, settings, *out)
    rows = read_table(out[1], NEW_CLASSES)
    assert read_table(out[0], FOURIER) == [] and {row["filters"] for row in rows} == {"none", "noun"}
    assert [r["image_id"] for r in rows if r["filters"] == "noun" and r["kept"]] == ["im00", "im04", "im05", "im06"]
    assert all(np.isnan(row["fourier_score"]) for row in rows)
