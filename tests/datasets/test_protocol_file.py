"""The protocol's file: its bytes, its record, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifacts import ArtifactError
from pipeline.datasets.protocol_file import ImageRecord, read_protocol, save_protocol
from tests.protocols import VOC

WRITTEN = """{
 "class_names": {
  "1": "n\\u00fct",
  "10": "bolt",
  "2": "washer"
 },
 "classes_per_step": [
  [
   0,
   10
  ],
  [
   2,
   1
  ]
 ],
 "dataset": "own:parts",
 "order": [
  0,
  10,
  2,
  1
 ],
 "other_val": {
  "night": []
 },
 "setting": "overlap",
 "step": 1,
 "task": "1-2",
 "train": [
  {
   "id": "a",
   "image": "parts/a.jpg",
   "labels": [
    1,
    10
   ],
   "mask": "parts/a.png"
  }
 ],
 "val": []
}
"""
"""A file of an earlier version; class names lie in the order of texts."""


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "step1.json"
    path.write_text(WRITTEN)
    return path


def test_a_file_is_read_and_written_to_the_byte(written: Path, tmp_path: Path) -> None:
    protocol = read_protocol(written)
    assert protocol.train == (ImageRecord("a", "parts/a.jpg", "parts/a.png", (1, 10)),)
    assert protocol.class_names == {1: "nüt", 10: "bolt", 2: "washer"}
    assert protocol.classes_per_step == ((0, 10), (2, 1)) and protocol.other_val == {"night": ()}
    save_protocol(tmp_path / "again.json", protocol)
    assert (tmp_path / "again.json").read_bytes() == written.read_bytes()
    # The order in which a reader lists its classes changes no byte either.
    save_protocol(tmp_path / "again.json", replace(protocol, class_names=dict(sorted(protocol.class_names.items()))))
    assert (tmp_path / "again.json").read_bytes() == written.read_bytes()


def test_a_written_protocol_is_what_json_says(protocols: list[Path], tmp_path: Path) -> None:
    for path in protocols:
        save_protocol(tmp_path / "p.json", read_protocol(path))
        assert (tmp_path / "p.json").read_bytes() == path.read_bytes()
        assert path.read_text() == json.dumps(json.loads(path.read_text()), indent=1, sort_keys=True) + "\n"
        assert "other_val" not in json.loads(path.read_text())


def test_what_a_step_says_of_its_classes(written: Path) -> None:
    protocol = read_protocol(written)
    assert protocol.channel_names == ["background", "bolt", "washer", "nüt"]
    assert (protocol.new_classes, protocol.step_sizes, protocol.n_classes) == ((2, 1), (2, 2), 10)
    assert protocol.identity() == {"dataset": "own:parts", "task": "1-2", "setting": "overlap", "step": 1}
    assert (VOC.new_classes, VOC.step_sizes) == (tuple(range(16)), (16,))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"step": "1"}, r"step: Input should be a valid integer"),
        ({"step": 2}, r"step is 2, classes_per_step has steps 0\.\.1"),
        ({"step": -1}, r"step is -1"),
        ({"order": [0, 10, 1, 2]}, r"order is \[0, 10, 1, 2\], classes_per_step says \[0, 10, 2, 1\]"),
        ({"class_names": {"1": "a", "10": "b"}}, r"class_names lacks the classes \[2\]"),
        ({"class_names": {"one": "a"}}, r"class_names\.one"),
        ({"palette": []}, r"palette: Unexpected keyword argument"),
        ({"val": [{"id": "a", "image": "b", "mask": "c"}]}, r"val\.0\.labels: Field required"),
        ({"val": [{"id": "a", "image": "b", "mask": "c", "labels": [1.5]}]}, r"val\.0\.labels\.0"),
        ({"train": None}, r"train: Input should be a valid array"),
    ],
)
def test_a_foreign_file_is_one_clear_line(written: Path, change: dict[str, Any], said: str) -> None:
    written.write_text(json.dumps({**json.loads(WRITTEN), **change}))
    with pytest.raises(ArtifactError, match=rf"step1\.json is no protocol of a step \({said}") as caught:
        read_protocol(written)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(
        "delete it and rerun `protocol`, which writes it"
    )


@pytest.mark.parametrize("content", [b"", b"[]", b"null", WRITTEN.encode()[:200], b"\xff\xfe", b'{"all": 61.2}'])
def test_a_damaged_file_is_one_clear_line(written: Path, content: bytes) -> None:
    written.write_bytes(content)
    with pytest.raises(ArtifactError, match="is no protocol of a step") as caught:
        read_protocol(written)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_names_its_stage(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="gone.json does not exist; run the stage that writes it"):
        read_protocol(tmp_path / "gone.json")
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_protocol(tmp_path)
