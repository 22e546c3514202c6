"""Captioners beside the vision-language models: alt text, tables, ImageNet labels; remote code; batches by size."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.artifacts import CAPTIONS, read_table
from pipeline.captioning.captioners import Captioner as AnyCaptioner
from pipeline.captioning.captioners import Source, build
from pipeline.captioning.captioners.snapshot import code_digest
from pipeline.captioning.captions import caption
from pipeline.config import Captioner, ConfigError, parse_config


def rows_of(sources: Sequence[Source], settings: Captioner, out: Path, captioner: Any = None) -> list[dict[str, Any]]:
    caption(sources, settings, out, captioner)
    return read_table(out, CAPTIONS)


def test_alt_text_is_one_line_and_its_absence_a_reason(tmp_path: Path) -> None:
    sources = [Source("a", "nowhere.jpg", alt_text=" a  dog\non grass "), Source("b", "nowhere.jpg")]
    rows = rows_of(sources, Captioner(kind="alt_text"), tmp_path / "c.parquet")
    assert [(r["caption"], r["reason"]) for r in rows] == [("a dog on grass", ""), ("", "no_alt_text")]
    assert rows[0]["model"] == "alt_text"


def tables(folder: Path) -> dict[str, Path]:
    """The same two captions in every form that the table captioner reads."""
    made = {name: folder / name for name in ("c.csv", "c.tsv", "c.jsonl", "pascal_cap.txt", "authors")}
    made["c.csv"].write_text('image_id,caption\nx,"a dog, a cat"\ny,\n')
    made["c.tsv"].write_text("image_id\tcaption\nx\ta dog, a cat\ny\t\n")
    made["c.jsonl"].write_text(
        "\n".join(json.dumps({"image_id": i, "caption": t}) for i, t in (("x", "a dog, a cat"), ("y", "")))
    )
    made["pascal_cap.txt"].write_text("x.jpg a dog, a cat\ny.jpg \n")
    made["authors"].mkdir()
    (made["authors"] / "2007_000032.txt").write_text("x.jpg a dog, a cat\ny.jpg \n")
    return made


@pytest.mark.parametrize("name", ["c.csv", "c.tsv", "c.jsonl", "pascal_cap.txt", "authors"])
def test_table_of_captions(name: str, tmp_path: Path) -> None:
    path = tables(tmp_path)[name]
    sources = [Source(i, f"web/2007_000032/{i}.jpg") for i in "xyz"]
    rows = rows_of(sources, Captioner(kind="table", model=str(path)), tmp_path / "c.parquet")
    assert [(r["caption"], r["reason"]) for r in rows] == [
        ("a dog, a cat", ""), ("", "empty_caption"), ("", "not_in_table"),
    ]  # fmt: skip
    assert len(rows[0]["revision"]) == 64
    again = rows_of(sources, Captioner(kind="table", model=str(tmp_path / "c.parquet")), tmp_path / "again.parquet")
    assert [r["caption"] for r in again] == [r["caption"] for r in rows]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.csv", "image,text\na,b\n", "c.csv:2: expected the columns image_id and caption, got image, text"),
        ("c.jsonl", "{", "c.jsonl:1: expected a JSON object"),
        ("c.txt", "onlyname\n", "c.txt:1: expected '<image file name> <text>', got 'onlyname'"),
    ],
)
def test_bad_tables_name_the_line(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        build(Captioner(kind="table", model=str(tmp_path / name)))
    with pytest.raises(ValueError, match="does not exist"):
        build(Captioner(kind="table", model=str(tmp_path / "absent.csv")))


def test_labels_captioner_names_likely_classes(tmp_path: Path, one_thread: None) -> None:
    import torch
    from safetensors.torch import save_file
    from torchvision.models import MobileNet_V2_Weights, mobilenet_v2

    names = MobileNet_V2_Weights.IMAGENET1K_V1.meta["categories"]
    network = mobilenet_v2(weights=None)
    with torch.no_grad():
        network.classifier[1].weight.zero_()
        network.classifier[1].bias[[names.index("Egyptian cat"), names.index("studio couch")]] = torch.tensor(
            [20.0, 19.5]
        )
    save_file(network.state_dict(), tmp_path / "m.safetensors")
    captioner: Any = build(Captioner(kind="labels", model=str(tmp_path / "m.safetensors")))
    image = Image.new("RGB", (50, 40))
    assert captioner.caption([image, image]) == ["an image of an egyptian cat and a studio couch"] * 2
    captioner.threshold = 0.99
    assert captioner.caption([image]) == [""]
    with pytest.raises(ValueError, match="needs a MobileNetV2 weights file"):
        build(Captioner(kind="labels", model="absent"))
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="is no MobileNetV2"):
        build(Captioner(kind="labels", model=str(tmp_path / "other.safetensors")))


def test_remote_code_needs_consent_and_a_pin(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`captioning.captioner`: trust_remote_code .* full commit hash.*got 'main'"):
        parse_config({"captioning": {"captioner": {"trust_remote_code": True, "revision": "main"}}})
    (tmp_path / "config.json").write_text('{"model_type": "own", "auto_map": {"AutoConfig": "code.Own"}}')
    (tmp_path / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Own: pass\n")
    with pytest.raises(ValueError, match="cannot be loaded"):
        build(Captioner(model=str(tmp_path)))
    with pytest.raises(ValueError, match=f"its code has digest {code_digest(tmp_path)}"):
        build(Captioner(model=str(tmp_path), trust_remote_code=True, revision="0" * 64))
    assert not (tmp_path / "ran").exists(), "no code ran"


class Sizes(AnyCaptioner):
    """Writes down the sizes of every batch."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[int, int]]] = []

    def generate(self, prepared: list[Image.Image]) -> list[str]:
        self.batches.append([image.size for image in prepared])
        return [f"{image.size}" for image in prepared]


def test_batches_hold_images_of_like_size_and_rows_keep_their_order(tmp_path: Path) -> None:
    sources = []
    for i in range(12):
        size = [(20, 10), (10, 20), (30, 30)][i % 3]
        Image.fromarray(np.full((size[1], size[0], 3), i, np.uint8)).save(tmp_path / f"{i}.png")
        sources.append(Source(str(i), str(tmp_path / f"{i}.png")))
    captioner = Sizes()
    rows = rows_of(sources, Captioner(batch_size=4), tmp_path / "c.parquet", captioner)
    assert [row["image_id"] for row in rows] == [source.image_id for source in sources]
    assert [len(set(batch)) for batch in captioner.batches] == [1, 1, 1]
    assert all(row["caption"] == f"{Image.open(s.uri).size}" for row, s in zip(rows, sources, strict=True))


def test_next_batch_is_prepared_while_one_is_generated(tmp_path: Path) -> None:
    import threading

    second_prepared = threading.Event()

    class Waiting(AnyCaptioner):
        prepared = 0

        def prepare(self, images: Sequence[Image.Image]) -> list[Image.Image]:
            self.prepared += 1
            if self.prepared == 2:
                second_prepared.set()
            return list(images)

        def generate(self, prepared: list[Image.Image]) -> list[str]:
            assert second_prepared.wait(timeout=10), "nothing was prepared meanwhile"
            return ["a"] * len(prepared)

    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    sources = [Source(str(i), str(tmp_path / "a.png")) for i in range(4)]
    rows = rows_of(sources, Captioner(batch_size=2), tmp_path / "c.parquet", Waiting())
    assert [row["caption"] for row in rows] == ["a"] * 4


def test_memory_that_does_not_suffice_for_one_image_is_an_error(tmp_path: Path) -> None:
    class Never(AnyCaptioner):
        calls: list[int]

        def generate(self, prepared: list[Image.Image]) -> list[str]:
            self.calls.append(len(prepared))
            raise RuntimeError("CUDA out of memory")

    Never.calls = []
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    sources = [Source(str(i), str(tmp_path / "a.png")) for i in range(4)]
    with pytest.raises(RuntimeError, match="out of memory"):
        caption(sources, Captioner(batch_size=4), tmp_path / "c.parquet", Never())
    assert Never.calls == [4, 2, 1]
