"""`python -m pipeline.predict` on folders: what it writes, and what it refuses."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pipeline import load_segmenter
from pipeline.predict.__main__ import main
from tests.predict.test_segmenter import picture
from tests.predict.tiny_models import write_classifier, write_segformer, write_step, write_torchvision


@pytest.fixture(autouse=True)
def _thread(one_thread: None) -> None:
    pass


def write_photos(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, (height, width) in enumerate([(60, 80), (60, 80), (90, 50)]):
        Image.fromarray(picture(height, width, number)).save(folder / f"p{number}.png")
    (folder / "night").mkdir(exist_ok=True)
    Image.fromarray(picture(60, 80, 7)).save(folder / "night" / "p0 & 1.png")
    return folder


def read_areas(out: Path) -> list[dict[str, str]]:
    with (out / "areas.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


class Page(HTMLParser):
    """Collects what a page loads, and its pictures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.texts: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.add(tag)
        self.links += [values["href"] or ""] if tag == "a" else []
        if tag == "img":
            self.sources.append(values["src"] or "")
            self.texts.append(values["alt"] or "")


def test_folder_becomes_masks_overlays_table_and_gallery(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, photos, out = write_step(tmp_path / "m", "mib"), write_photos(tmp_path / "photos"), tmp_path / "out"
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    (photos / "notes.txt").write_text("no image")
    words = ["--model", str(model), "--images", str(photos), "--out", str(out), "--batch-size", "2"]
    assert main([*words, "--format", "coco", "--format", "labelme"]) == 0
    assert "4 images segmented, 1 failed, 1 other files" in capsys.readouterr().out

    segmenter = load_segmenter(model)
    for path in [*photos.glob("*.png"), *photos.glob("*/*.png")]:
        name = path.relative_to(photos).with_suffix("")
        result = segmenter(path)
        with Image.open(out / "masks" / f"{name}.png") as mask:
            assert mask.mode == "P" and np.mean(np.asarray(mask) == result.mask) > 0.999
        assert (out / "overlays" / f"{name}.jpg").is_file()
        labels = json.loads((out / "labelme" / f"{name}.json").read_text())
        beside = out / "labelme" / name.parent / labels["imagePath"]
        assert beside.resolve() == path and labels["imageWidth"] == result.mask.shape[1]

    rows = read_areas(out)
    assert {row["image"]: row["status"] for row in rows} == {
        "broken.jpg": "failed", "night/p0 & 1.png": "done", "notes.txt": "skipped",
        "p0.png": "done", "p1.png": "done", "p2.png": "done",
    }  # fmt: skip
    broken = next(row for row in rows if row["status"] == "failed")
    assert broken["reason"] == "cannot be decoded (no known image format)"
    assert sum(int(row["pixels"]) for row in rows if row["image"] == "p2.png") == 90 * 50
    content = json.loads((out / "coco.json").read_text())
    assert sorted(image["file_name"] for image in content["images"]) == [
        "night/p0 & 1.png", "p0.png", "p1.png", "p2.png",
    ]  # fmt: skip
    assert len({a["id"] for a in content["annotations"]}) == len(content["annotations"]) > 0
    record = json.loads((out / "predict.json").read_text())
    assert record["classes"][15] == {"value": 15, "name": "person", "dataset_id": 15}
    assert record["cost"]["items"] == 4 and "masks/p0.png" in record["files"]

    text = (out / "index.html").read_text()
    page = Page(text)
    assert len(page.sources) == 4 and all(source.startswith("data:image/jpeg;base64,") for source in page.sources)
    assert all(re.fullmatch(r".+\.png: .+ %.*", alt) for alt in page.texts)
    assert all((out / link.replace("%20", " ").replace("%26", "&")).exists() for link in page.links if link[0] != "#")
    assert not page.tags & {"script", "link", "iframe"} and "http" not in re.sub(r"base64,[^\"]*", "", text)
    assert "prefers-color-scheme: dark" in text and "width=device-width" in text and "broken.jpg" in text

    # A second run replaces what the first one wrote, formats and all.
    (photos / "p1.png").unlink()
    assert main([*words, "--tile", "48"]) == 0
    assert not (out / "labelme").exists() and not (out / "masks" / "p1.png").exists()
    assert json.loads((out / "predict.json").read_text())["options"]["tile"] == 48


def test_names_cannot_become_markup(tmp_path: Path) -> None:
    model, photos = write_step(tmp_path / "m"), tmp_path / "photos"
    photos.mkdir()
    name = '"><script>alert(1)</script>.png'.replace("/", "")
    Image.fromarray(picture(40, 40)).save(photos / name)
    assert main(["--model", str(model), "--images", str(photos), "--out", str(tmp_path / "out")]) == 0
    page = Page((tmp_path / "out" / "index.html").read_text())
    assert "script" not in page.tags and page.texts[0].startswith(name)


def test_one_image_that_cannot_be_computed_costs_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.predict.segmenter import Segmenter

    real = Segmenter.segment

    def short_of_memory(self: Segmenter, images: list[np.ndarray], *rest: object) -> object:
        if len(images) > 1 or images[0].shape[0] == 90:
            raise torch.OutOfMemoryError("tried to allocate 80 GiB")
        return real(self, images, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Segmenter, "segment", short_of_memory)
    model, photos, out = write_step(tmp_path / "m"), write_photos(tmp_path / "photos"), tmp_path / "out"
    assert main(["--model", str(model), "--images", str(photos), "--out", str(out)]) == 0
    failed = [row for row in read_areas(out) if row["status"] == "failed"]
    assert [row["image"] for row in failed] == ["p2.png"] and "use --tile" in failed[0]["reason"]
    assert len(list((out / "masks").rglob("*.png"))) == 3


def _options(**changes: str) -> Callable[[Path], list[str]]:
    def words(root: Path) -> list[str]:
        values = {"model": str(root / "step"), "images": str(root / "photos"), "out": str(root / "out"), **changes}
        return [word for key, value in values.items() for word in (f"--{key}", value.format(root=root))]

    return words


def _model(make: Callable[[Path], object], **changes: str) -> Callable[[Path], list[str]]:
    def words(root: Path) -> list[str]:
        make(root / "bad")
        return _options(**{"model": "{root}/bad", **changes})(root)

    return words


def _made(make: Callable[[Path], object], **changes: str) -> Callable[[Path], list[str]]:
    def words(root: Path) -> list[str]:
        make(root)
        return _options(**changes)(root)

    return words


def _exported(words: Callable[[Path], list[str]], form: str) -> Callable[[Path], list[str]]:
    def export(root: Path) -> list[str]:
        found = words(root)
        place = found.index("--images")
        return ["export", *found[:place], *found[place + 2 :], "--format", form]

    return export


def _cut_short(path: Path) -> None:
    write_step(path)
    whole = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(whole[: len(whole) // 2])


def _other_weights(path: Path) -> None:
    write_segformer(path)
    save_file({"layer.weight": torch.zeros(2)}, path / "model.safetensors", metadata={"format": "pt"})


def _other_backbone(path: Path) -> None:
    weights = write_step(path) / "model.safetensors"
    with safe_open(str(weights), "pt") as file:
        about = json.loads(file.metadata()["about"])
    changed = json.dumps({**about, "backbone": "small_segformer"})
    save_file(load_file(weights), weights, metadata={"about": changed})


def _garbled_record(path: Path) -> None:
    write_step(path, settings={})
    (path / "config.yaml").write_text("a: [")


def _pickle(path: Path) -> None:
    torch.save({"fc": Path("x")}, path)


BAD = {
    "classifier": (_model(write_classifier), "SegformerForImageClassification, expected a semantic segmenter"),
    "torchvision classifier": (
        _model(lambda path: torch.save({"fc.weight": torch.zeros(2, 2)}, path)),
        "holds an image classifier",
    ),
    "another network": (
        _model(lambda path: torch.save({"encoder.w": torch.zeros(1)}, path)),
        "of another network .tensor `encoder.w`., expected a state dict of torchvision's",
    ),
    "pickled objects": (_model(_pickle), "cannot be read as tensors alone"),
    "no model": (_options(model="{root}/nowhere"), "nowhere does not exist; expected a step folder"),
    "empty model folder": (_model(lambda path: path.mkdir()), "bad holds nothing; expected a step folder"),
    "model cut short": (_model(_cut_short), "not a readable safetensors file"),
    "weights of another model": (_model(_other_weights), "missing or of another shape, first"),
    "another backbone": (_model(_other_backbone), "its tensors are not those of small_segformer"),
    "unknown method": (_model(lambda path: write_step(path, "mibb")), "unknown method `mibb`; did you mean `mib`"),
    "garbled record": (_model(_garbled_record), "config.yaml cannot be read"),
    "nameless classes": (
        _model(lambda path: write_torchvision(path, "lraspp_mobilenet_v3_large", names=False)),
        "does not say how its 4 classes are called",
    ),
    "too few names": (
        _made(lambda root: (root / "names.txt").write_text("a\nb\n"), classes="{root}/names.txt"),
        "has 21 classes, 2 names were given",
    ),
    "empty name": (
        _made(lambda root: (root / "names.txt").write_text("a\n\nb\n"), classes="{root}/names.txt"),
        "names.txt:2: empty line",
    ),
    "no images": (_made(lambda root: (root / "none").mkdir(), images="{root}/none"), r"holds no image \(0 other files"),
    "no image by name": (
        _made(lambda root: ((root / "t").mkdir(), (root / "t" / "a.txt").touch()), images="{root}/t"),
        r"holds no image \(1 other files",
    ),
    "not an image": (
        _made(lambda root: (root / "a.png").write_text("text"), images="{root}/a.png"),
        "none of 1 files could be segmented; a.png: cannot be decoded",
    ),
    "glob without match": (_options(images="{root}/*.gif"), "as a glob it matches nothing"),
    "own folder": (_options(out="{root}/photos"), "photos is not empty and was not written by predict"),
    "folder of others": (
        _made(lambda root: ((root / "mine").mkdir(), (root / "mine" / "a").touch()), out="{root}/mine"),
        "is not empty and was not written by predict",
    ),
    "out is a file": (_made(lambda root: (root / "f").touch(), out="{root}/f"), "f is not a folder"),
    "out inside a file": (
        _made(lambda root: (root / "f").touch(), out="{root}/f/out"),
        "out cannot be (written|read)",
    ),
    "no permission": (_options(out="/proc/predict/out"), "--out /proc/predict/out cannot be written"),
    "small tile": (_options(tile="7"), "tile is 7 pixels, expected at least 32"),
    "unknown device": (_options(device="gpu"), "device `gpu` cannot be used"),
    "export of a CNN to transformers": (
        _exported(_options(), "transformers"),
        "is small_cnn; only a SegFormer can become a transformers folder",
    ),
    "export of SATS's head": (
        _exported(_model(lambda path: write_step(path, "sats", backbone="segformer_b0")), "transformers"),
        "has SATS's head, which transformers' SegFormer cannot express",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    make, message = BAD[case]
    write_step(tmp_path / "step", "mib")
    write_photos(tmp_path / "photos")
    words = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    capsys.readouterr()
    assert main(words) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith(("predict: ", "note: "))]
    assert len(lines) == 1 and re.match(f"error: .*{message}", lines[0]), lines
    assert sorted(tmp_path.rglob("*")) == before
