"""Models of three origins from Python: what they return beside their own library's output."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from pipeline import load_segmenter
from pipeline.artifacts import ArtifactError
from pipeline.predict.tiles import ramp, starts
from tests.predict.tiny_models import NAMES, write_segformer, write_step, write_torchvision

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


@pytest.fixture(autouse=True)
def _thread(one_thread: None) -> None:
    pass


def picture(height: int = 70, width: int = 101, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def normalised(image: np.ndarray) -> Tensor:
    return ((torch.from_numpy(image).float() / 255 - MEAN) / STD).permute(2, 0, 1)[None]


def test_package_stays_light() -> None:
    code = "import sys, pipeline, pipeline.predict; assert 'torch' not in sys.modules; pipeline.load_segmenter"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_step_folder_equals_its_network(tmp_path: Path) -> None:
    from pipeline.models import load_model

    folder, image = write_step(tmp_path / "s", "mib"), picture()
    result = load_segmenter(folder, device="cpu")(image)
    with torch.no_grad():
        logits = load_model(folder / "model.safetensors")(normalised(image)).logits
    logits = F.interpolate(logits, size=image.shape[:2], mode="bilinear", align_corners=False)
    np.testing.assert_allclose(result.probabilities, logits.softmax(1)[0].numpy(), atol=1e-5)
    assert np.array_equal(result.mask, logits.argmax(1)[0].numpy()) and result.mask.dtype == np.uint8
    assert len(np.unique(result.mask)) > 1
    assert result.class_names[:2] == ("background", "aeroplane") and len(result.class_names) == 21
    chosen = np.take_along_axis(result.probabilities, result.mask[None].astype(int), 0)[0]
    np.testing.assert_array_equal(result.confidence, chosen)


@pytest.mark.parametrize("method", ["web_wilss", "wilson", "lwf_mc"])
def test_binary_methods_give_sigmoids(tmp_path: Path, method: str) -> None:
    from pipeline.models import load_model

    folder, image = write_step(tmp_path / "s", method), picture()
    result = load_segmenter(folder / "model.safetensors")(image)
    with torch.no_grad():
        logits = load_model(folder / "model.safetensors")(normalised(image)).logits
    logits = F.interpolate(logits, size=image.shape[:2], mode="bilinear", align_corners=False)
    np.testing.assert_allclose(result.probabilities, logits.sigmoid()[0].numpy(), atol=1e-5)


@pytest.mark.parametrize(("variant", "kind"), [("original", "conv"), ("sats", "linear")])
def test_unknown_class_of_ssul_is_background(tmp_path: Path, variant: str, kind: str) -> None:
    from pipeline.models import load_model

    folder, image = (
        write_step(tmp_path / "s", "ssul", (1, 1, 15, 5), kind, settings={"implementation": variant}),
        picture(),
    )
    result = load_segmenter(folder)(image)
    with torch.no_grad():
        logits = load_model(folder / "model.safetensors")(normalised(image)).logits
    scores = F.interpolate(logits, size=image.shape[:2], mode="bilinear", align_corners=False)[0].sigmoid().numpy()
    # Channels: unknown, background, classes (the variant of SATS has the first two exchanged).
    first = scores[0] + scores[1] if variant == "original" else np.maximum(scores[0], scores[1])
    expected = np.concatenate([first[None], scores[2:]]).argmax(0)
    assert np.array_equal(result.mask, expected)
    assert result.probabilities.shape == (21, *image.shape[:2]) and result.probabilities.max() <= 1
    assert len(result.class_names) == 21


def test_first_step_follows_its_recipe(tmp_path: Path) -> None:
    folder = write_step(tmp_path / "s", "ssul", (1, 1, 15), "conv", step=0, order=list(range(16)))
    assert load_segmenter(folder)(picture()).probabilities.shape[0] == 16


def test_contradicting_steps_are_refused(tmp_path: Path) -> None:
    unknown = write_step(tmp_path / "a", "ssul", (1, 1, 15, 5), "linear")
    with pytest.raises(ArtifactError, match=r"linear classifiers \[1, 1, 15, 5\] for 21 classes, which ssul does not"):
        load_segmenter(unknown)
    imported = write_step(tmp_path / "b", sizes=(1, 1, 15, 5), kind="conv", method=None)  # type: ignore[arg-type]
    with pytest.raises(ArtifactError, match="or name its method: .*ssul"):
        load_segmenter(imported)
    assert load_segmenter(imported, method="ssul")(picture()).mask.shape == (70, 101)
    with pytest.raises(ArtifactError, match="was trained by mib, not by plop"):
        load_segmenter(write_step(tmp_path / "c", "mib"), method="plop")


def test_names_of_own_data_come_from_the_protocol_beside_the_experiment(tmp_path: Path) -> None:
    from pipeline.artifacts import write_json

    folder = tmp_path / "results" / "mine" / "ft" / "seed0" / "step1"
    facts = {"dataset": "own:data", "task": "mine", "order": [0, 2, 1], "step": 1}
    write_step(folder, "ft", (2, 1), **facts)
    with pytest.raises(ValueError, match="does not say how its 3 classes are called; give them with --classes"):
        load_segmenter(folder)
    assert load_segmenter(folder, class_names=["bg", "x", "y"]).class_names == ("bg", "x", "y")
    with pytest.raises(ValueError, match="has 3 classes, 2 names were given"):
        load_segmenter(folder, class_names=["bg", "x"])
    protocol = tmp_path / "results" / "mine" / "protocol" / "step1.json"
    write_json(protocol, {**facts, "class_names": {"1": "weed", "2": "crop"}})
    assert load_segmenter(folder).class_names == ("background", "crop", "weed")


def test_segformer_equals_transformers(tmp_path: Path) -> None:
    from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

    folder, image = write_segformer(tmp_path / "hf"), picture()
    result = load_segmenter(folder)(image)
    processor, model = (kind.from_pretrained(folder) for kind in (AutoImageProcessor, AutoModelForSemanticSegmentation))
    with torch.no_grad():
        output = model(**processor(images=Image.fromarray(image), return_tensors="pt"))
    logits = F.interpolate(output.logits, size=image.shape[:2], mode="bilinear", align_corners=False)
    np.testing.assert_allclose(result.probabilities, logits.softmax(1)[0].numpy(), atol=1e-4)
    theirs = processor.post_process_semantic_segmentation(output, target_sizes=[image.shape[:2]])[0].numpy()
    assert np.mean(result.mask == theirs) > 0.9999 and len(np.unique(theirs)) > 1
    assert result.class_names == NAMES


def test_segformer_without_image_processor_keeps_the_size(tmp_path: Path) -> None:
    from transformers import AutoModelForSemanticSegmentation

    folder, image = write_segformer(tmp_path / "hf", processor=False), picture(64, 96)
    segmenter = load_segmenter(folder)
    with torch.no_grad():
        logits = AutoModelForSemanticSegmentation.from_pretrained(folder)(normalised(image)).logits
    logits = F.interpolate(logits, size=(64, 96), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(segmenter(image).probabilities, logits.softmax(1)[0].numpy(), atol=1e-4)
    assert "normalised by ImageNet's mean" in segmenter.model.notes[0]


@pytest.mark.parametrize(
    ("architecture", "suffix"),
    [
        ("lraspp_mobilenet_v3_large", ".pth"),
        ("deeplabv3_resnet50", ".pth"),
        pytest.param("deeplabv3_resnet101", ".safetensors", marks=pytest.mark.slow),
    ],
)
def test_torchvision_equals_torchvision(tmp_path: Path, architecture: str, suffix: str) -> None:
    path, image = tmp_path / f"weights{suffix}", picture(64, 80)
    model = write_torchvision(path, architecture)
    if suffix == ".safetensors":
        save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path)
    segmenter = load_segmenter(path)
    result = segmenter(image)
    with torch.no_grad():
        logits = model(normalised(image))["out"]
    # Random weights of a hundred layers give logits of hundreds, whose last float32 digit is worth more than 1e-4.
    atol = 1e-4 if architecture != "deeplabv3_resnet101" else 1e-3
    np.testing.assert_allclose(result.probabilities, logits.softmax(1)[0].numpy(), atol=atol)
    assert np.mean(result.mask == logits.argmax(1)[0].numpy()) > 0.9999
    assert result.class_names == NAMES and segmenter.model.architecture == architecture


def test_published_names_belong_to_published_files_alone(tmp_path: Path) -> None:
    write_torchvision(tmp_path / "lraspp_mobilenet_v3_large-d234d4ea.pth", "lraspp_mobilenet_v3_large", 21, names=False)
    segmenter = load_segmenter(tmp_path / "lraspp_mobilenet_v3_large-d234d4ea.pth")
    assert segmenter.class_names[15] == "person" and segmenter.model.background == 0
    (tmp_path / "lraspp_mobilenet_v3_large-d234d4ea.pth").rename(tmp_path / "mine.pth")
    with pytest.raises(ValueError, match="does not say how its 21 classes are called"):
        load_segmenter(tmp_path / "mine.pth")


def test_kinds_of_images_agree(tmp_path: Path) -> None:
    segmenter, image = load_segmenter(write_step(tmp_path / "s")), picture()
    Image.fromarray(image).save(tmp_path / "a.png")
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    kinds = [image, Image.fromarray(image), tmp_path / "a.png", str(tmp_path / "a.png"), tensor, tensor / 255]
    first, *others = segmenter(kinds)
    assert all(np.array_equal(first.mask, other.mask) for other in others)
    batch = segmenter(torch.stack([tensor, tensor]))
    assert len(batch) == 2 and np.array_equal(batch[1].mask, first.mask)
    assert segmenter([]) == []
    grey = segmenter([image[..., 0], np.repeat(image[..., :1], 3, axis=2), torch.from_numpy(image[..., 0])[None]])
    assert np.array_equal(grey[0].mask, grey[1].mask) and np.array_equal(grey[0].mask, grey[2].mask)


def test_list_of_mixed_sizes_keeps_its_order(tmp_path: Path) -> None:
    segmenter = load_segmenter(write_step(tmp_path / "s"))
    images = [picture(40, 60, 1), picture(40, 60, 2), picture(60, 40, 3), picture(40, 60, 4)]
    together = segmenter(images, batch_size=2, probabilities=False)
    for image, result in zip(images, together, strict=True):
        alone = segmenter(image)
        assert np.mean(alone.mask == result.mask) > 0.999 and result.probabilities.shape == (0, *image.shape[:2])
        np.testing.assert_allclose(alone.confidence, result.confidence, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (31, 33)])
@pytest.mark.parametrize("backbone", ["small_cnn", "small_segformer", "segformer_b0"])
def test_tiny_images(tmp_path: Path, shape: tuple[int, int], backbone: str) -> None:
    result = load_segmenter(write_step(tmp_path / "s", backbone=backbone))(picture(*shape))
    assert result.mask.shape == shape and np.isfinite(result.probabilities).all()


def test_resize_brings_the_shorter_side(tmp_path: Path) -> None:
    folder, image = write_step(tmp_path / "s"), picture(60, 90)
    seen: list[tuple[int, ...]] = []
    segmenter = load_segmenter(folder, resize=40)
    segmenter.model.network.body.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))
    assert segmenter(image).mask.shape == (60, 90)
    assert seen == [(1, 3, 40, 60)]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), r"uint8, got \(4, 4, 3\) of float32"),
        (np.zeros((4, 4, 2), np.uint8), r"got \(4, 4, 2\)"),
        (np.zeros((0, 4, 3), np.uint8), "at least one pixel"),
        (torch.full((3, 4, 4), 2.0), r"lies in 0..1, got 2..2"),
        (torch.zeros(4, 4), r"\(1, H, W\) or \(3, H, W\), got \(4, 4\)"),
        ("nowhere.png", "image nowhere.png does not exist"),
    ],
)
def test_what_is_no_image(tmp_path: Path, bad: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_segmenter(write_step(tmp_path / "s"))(bad)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("side", "tile", "overlap"), [(100, 40, 10), (41, 40, 10), (40, 40, 0), (97, 32, 16), (5, 8, 2)]
)
def test_tiles_cover_a_side_and_overlap(side: int, tile: int, overlap: int) -> None:
    found = starts(side, tile, overlap)
    assert found[0] == 0 and found[-1] + min(tile, side) == side
    assert all(0 < b - a <= tile - overlap for a, b in pairwise(found))


def test_ramp_weighs_the_middle() -> None:
    weights = ramp(8, 12, 3)
    assert weights.shape == (8, 12) and weights[4, 6] == 1 and torch.equal(weights, weights.flip(0).flip(1))
    assert weights[0, 6] == pytest.approx(0.25) and weights.min() > 0


def test_tiles_of_a_local_network_equal_the_whole(tmp_path: Path) -> None:
    segmenter = load_segmenter(write_step(tmp_path / "s"))
    # A network that sees one pixel at a time: whatever the tiles, the logits are the whole image's.
    convolution = torch.nn.Conv2d(3, 21, 1)
    segmenter.model.network.body = convolution
    segmenter.model.network.read_logits = lambda output: output
    image = picture(150, 131)
    whole, tiled = segmenter(image), segmenter(image, tile=48, overlap=12)
    np.testing.assert_allclose(tiled.probabilities, whole.probabilities, atol=1e-5)
    assert np.mean(tiled.mask == whole.mask) > 0.9999 and tiled.mask.shape == (150, 131)
    assert np.array_equal(segmenter(image, tile=200).mask, whole.mask)


def test_tiles_of_a_real_network(tmp_path: Path) -> None:
    segmenter, image = load_segmenter(write_step(tmp_path / "s")), picture(120, 160)
    seen: list[tuple[int, ...]] = []
    segmenter.model.network.body.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))
    whole, tiled = segmenter(image), segmenter(image, tile=96)
    assert seen[0] == (1, 3, 120, 160) and set(seen[1:]) == {(1, 3, 96, 96)}
    # The deepest features see far; away from edges most decisions are the same.
    assert np.mean(whole.mask == tiled.mask) > 0.7
    assert np.isfinite(tiled.probabilities).all() and tiled.confidence.shape == (120, 160)
    with pytest.raises(ValueError, match="tile is 8 pixels"):
        segmenter(image, tile=8)
    with pytest.raises(ValueError, match="overlap is 60 pixels, expected 0 to 48"):
        segmenter(image, tile=96, overlap=60)
