"""Exports: loaded by their own runtimes and compared with the model on images of other sizes; the card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from pipeline import load_segmenter
from pipeline.artifacts import TRAIN_LIST, write_json, write_table
from pipeline.models.pooling import pooled_context
from pipeline.predict.__main__ import main
from tests.predict.test_segmenter import picture
from tests.predict.tiny_models import write_segformer, write_step, write_torchvision

WEB = ("w1", "w2", "w3")


@pytest.fixture(autouse=True)
def _thread(one_thread: None) -> None:
    pass


def fifty(count: int = 50) -> list[np.ndarray]:
    rng = np.random.default_rng(4)
    return [picture(*rng.integers(32, 120, 2).tolist(), seed) for seed in range(count)]


def onnx_session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(
    ("method", "sizes", "kind", "backbone"),
    [
        ("mib", (16, 5), "linear", "small_cnn"),
        ("ssul", (1, 1, 15, 5), "conv", "small_cnn"),
        ("wilson", (16, 5), "linear", "small_segformer"),
    ],
)
def test_onnx_decides_as_torch_on_fifty_images(
    tmp_path: Path, method: str, sizes: tuple[int, ...], kind: str, backbone: str
) -> None:
    model, out = write_step(tmp_path / "m", method, sizes, kind, backbone), tmp_path / "out"
    assert main(["export", "--model", str(model), "--out", str(out)]) == 0
    session, segmenter = onnx_session(out / "model.onnx"), load_segmenter(model)
    equal = pixels = 0
    for image in fifty():
        mask, logits = session.run(None, {"images": image[None]})
        result = segmenter(image)
        equal, pixels = equal + int((mask[0] == result.mask).sum()), pixels + mask.size
        assert logits.shape == (1, sum(sizes), *image.shape[:2]) and mask.dtype == np.uint8
        if method == "mib":
            shares = np.exp(logits[0] - logits[0].max(0))
            np.testing.assert_allclose(shares / shares.sum(0), result.probabilities, atol=1e-3)
    assert equal >= 0.999 * pixels
    batch = np.stack([picture(40, 56, seed) for seed in range(3)])
    masks, _ = session.run(None, {"images": batch})
    assert np.mean(masks[1] == segmenter(batch[1]).mask) > 0.999


@pytest.mark.parametrize("make", ["segformer", "lraspp"])
def test_foreign_models_become_onnx_and_torchscript(tmp_path: Path, make: str) -> None:
    if make == "segformer":
        model = write_segformer(tmp_path / "m", processor=False)
    else:
        model = tmp_path / "m.pth"
        write_torchvision(model, "lraspp_mobilenet_v3_large")
    out = tmp_path / "out"
    words = ["export", "--model", str(model), "--out", str(out), "--format", "onnx", "--format", "torchscript"]
    assert main(words) == 0
    session, script = onnx_session(out / "model.onnx"), torch.jit.load(out / "model.torchscript.pt")
    segmenter = load_segmenter(model)
    for image in fifty(4):
        expected = segmenter(image).mask
        mask, logits = session.run(None, {"images": image[None]})
        with torch.no_grad():
            other, others = script(torch.from_numpy(image)[None])
        assert np.mean(mask[0] == expected) > 0.999 and np.mean(other[0].numpy() == expected) > 0.999
        np.testing.assert_allclose(logits, others.numpy(), atol=1e-3)
    card = (out / "README.md").read_text()
    assert "unknown: the model's files do not say" in card and "unknown: no eval.json" in card


@pytest.mark.parametrize("origin", ["ours", "transformers"])
def test_segformer_opens_in_transformers(tmp_path: Path, origin: str) -> None:
    from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

    if origin == "ours":
        model = write_step(tmp_path / "m", "mib", backbone="segformer_b0", options={"head": "official"})
    else:
        model = write_segformer(tmp_path / "m")
    out, image = tmp_path / "out", picture(64, 96)
    assert main(["export", "--model", str(model), "--out", str(out), "--format", "transformers"]) == 0
    theirs = AutoModelForSemanticSegmentation.from_pretrained(out / "transformers")
    processor = AutoImageProcessor.from_pretrained(out / "transformers")
    segmenter = load_segmenter(model)
    assert tuple(theirs.config.id2label.values()) == segmenter.class_names
    with torch.no_grad():
        output = theirs(**processor(images=Image.fromarray(image), return_tensors="pt"))
    logits = torch.nn.functional.interpolate(output.logits, size=(64, 96), mode="bilinear", align_corners=False)
    result = segmenter(image)
    np.testing.assert_allclose(logits.softmax(1)[0].numpy(), result.probabilities, atol=1e-4)
    # And the export is again a model that this package opens.
    again = load_segmenter(out / "transformers")(image)
    assert np.mean(again.mask == result.mask) > 0.999 and again.class_names == result.class_names


@pytest.mark.parametrize("size", [(5, 9), (24, 24), (30, 41), (25, 7)])
def test_traced_pooling_is_the_pooling(size: tuple[int, int]) -> None:
    traced = torch.jit.trace(lambda x: pooled_context(x, 24, False), torch.randn(1, 2, 31, 28), check_trace=False)
    x = torch.randn(2, 3, *size)
    torch.testing.assert_close(traced(x), pooled_context(x, 24, False), rtol=1e-5, atol=1e-6)


def test_export_that_differs_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipeline.predict.export import exporting

    real = exporting.torchscript

    def wrong(network: Any) -> bytes:
        mean = network.mean.clone()
        network.mean += 0.2
        content = real(network)
        network.mean.copy_(mean)
        return content

    monkeypatch.setattr(exporting, "torchscript", wrong)
    model = write_step(tmp_path / "m")
    words = ["export", "--model", str(model), "--out", str(tmp_path / "out"), "--format", "torchscript"]
    assert main(words) == 2
    assert "the export differs from the model" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_card_says_what_was_recorded_and_what_is_unknown(tmp_path: Path) -> None:
    model = write_step(tmp_path / "seed0" / "step1", "wilson", settings={"alpha": 0.5})
    shard = str(tmp_path / "web" / "mini" / "shards" / "step1-0.tar")
    web = [
        {"image_id": f"w{i}", "role": "web", "image": f"{shard}::w{i}.jpg", "mask": "", "labels": [16]}
        for i in (1, 2, 3)
    ]
    own = [{"image_id": "d", "role": "dataset", "image": "data/d.jpg", "mask": "m", "labels": [1]}]
    write_table(model / "train_list.parquet", web + own, TRAIN_LIST)
    manifest = tmp_path / "web" / "mini" / "manifests" / "step1.parquet"
    manifest.parent.mkdir(parents=True)
    rows = [
        ("w1", "kept", "by-sa", "openverse"),
        ("w2", "kept", "by", "openverse"),
        ("w3", "refused", "by", "openverse"),
    ]
    columns = dict(zip(("image_id", "status", "licence", "source"), map(list, zip(*rows, strict=True)), strict=True))
    pq.write_table(pa.table(columns), manifest)
    scores = {"old": 61.5, "new": 40.25, "all": 57.0, "all_no_background": 55.0, "harmonic": None, "images": 40}
    facts = {"dataset": "minivoc", "task": "15-5", "step": 1, "conventions": "void is ignored", "iou": {"cat": 33.3}}
    write_json(model / "eval.json", {**scores, **facts})
    out = tmp_path / "out"
    assert main(["export", "--model", str(model), "--out", str(out), "--format", "torchscript"]) == 0
    card = (out / "README.md").read_text()
    for line in (
        "- Method: wilson", "- Seed: 0", "- Task: minivoc 15-5, setting overlap", "alpha 0.5",
        "| 15 | person | 0 |", "| 16 | pottedplant | 1 |",
        "- Step 1: 1 images of role dataset, 3 images of role web",
        "licences of its 3 web images: by-sa 1, by 1, unknown 1",
        "on 40 validation images of minivoc 15-5", "- mIoU old: 61.50", "- mIoU harmonic: none", "cat 33.3",
        "torch.jit, 5 images: ", "- Versions of the training: unknown", "who made them: unknown",
    ):  # fmt: skip
        assert line in card, line
    assert (out / "classes.txt").read_text().splitlines()[20] == "tvmonitor"
    assert set(json.loads((out / "export.json").read_text())["files"]) == {
        "README.md", "classes.txt", "model.torchscript.pt",
    }  # fmt: skip
    # Our own export is replaced, an edited one is not.
    words = ["export", "--model", str(model), "--out", str(out), "--format", "torchscript"]
    assert main(words) == 0
    (out / "README.md").write_text("mine")
    assert main(words) == 2 and (out / "README.md").read_text() == "mine"
