"""What `webseg teach` refuses: one clear line, exit code 2, nothing written; and what it asks before the open web."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pipeline.artifacts import read_json
from pipeline.teach import __main__ as command
from tests.teach.models import NAMES, model_at, photos_at, truth_at

MINI = {"crawl_ingest": {"api": "http://api.miniweb.test/v1/images/"}}
MODEL = ["--model", "m", "--out", "out", "--config", "mini.yaml"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a model, images of it, truth and the mini web's settings; Snakemake is not started."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "_run", lambda *_: pytest.fail("must not run"))
    model_at(tmp_path / "m")
    photos_at(tmp_path / "photos")
    (tmp_path / "mini.yaml").write_text(yaml.safe_dump(MINI))
    return tmp_path


def classifier(folder: Path) -> list[str]:
    (folder / "vit").mkdir()
    (folder / "vit" / "config.json").write_text(json.dumps({"architectures": ["ViTForImageClassification"]}))
    return ["sheep", *MODEL, "--model", "vit"]


def damaged(folder: Path) -> list[str]:
    (folder / "m" / "model.safetensors").write_bytes(b"\x00" * 100)
    return ["sheep", *MODEL]


def foreign(folder: Path) -> list[str]:
    from safetensors.torch import save_file
    from torch import zeros

    save_file({"x": zeros(1)}, folder / "other.safetensors")
    return ["sheep", *MODEL, "--model", "other.safetensors"]


def conv_heads(folder: Path) -> list[str]:
    model_at(folder / "ssul", sizes=(1, 4), order=[0, 1, 2, 3], classifier="conv", step=0)
    return ["sheep", *MODEL, "--model", "ssul"]


def nameless(folder: Path) -> list[str]:
    model_at(folder / "nameless", class_names=None)
    return ["sheep", *MODEL, "--model", "nameless"]


def few(folder: Path) -> list[str]:
    photos_at(folder / "few", count=3)
    return ["sheep", *MODEL, "--like", "few"]


def empty_like(folder: Path) -> list[str]:
    (folder / "empty").mkdir()
    (folder / "empty" / "readme.txt").write_text("nothing")
    return ["sheep", *MODEL, "--like", "empty"]


def no_masks(folder: Path) -> list[str]:
    truth_at(folder / "truth", NAMES)
    (folder / "truth" / "masks" / "photo 1.png").unlink()
    return ["sheep", *MODEL, "--check", "truth"]


def other_classes(folder: Path) -> list[str]:
    truth_at(folder / "truth", ("moon", "sun"))
    return ["sheep", *MODEL, "--check", "truth"]


def not_ours(folder: Path) -> list[str]:
    (folder / "out").mkdir()
    (folder / "out" / "thesis.tex").write_text("years of work")
    return ["sheep", *MODEL]


def is_a_file(folder: Path) -> list[str]:
    (folder / "out").write_text("years of work")
    return ["sheep", *MODEL]


def wrong_key(folder: Path) -> list[str]:
    (folder / "mini.yaml").write_text("crawl_ingest: {per_clas: 3}\n")
    return ["sheep", *MODEL]


Words = list[str] | Callable[[Path], list[str]]
REFUSED: dict[str, tuple[Words, str]] = {
    "no class": (MODEL, "no class is named"),
    "already known": (["bolt", *MODEL], "the model knows the class 'bolt' already"),
    "known, spelled otherwise": (["Bo lt", *MODEL], r"knows the class 'Bo lt' already \(as `bolt`\)"),
    "background": (["background", *MODEL], "knows the class 'background' already"),
    "twice": (["sheep", "Sheep", *MODEL], "'Sheep' is named twice"),
    "slash": (["cat/dog", *MODEL], "'cat/dog' has a slash"),
    "control characters": (["she\x1bep", *MODEL], r"'she\\x1bep' has a control character"),
    "line break": (["she\nep", *MODEL], "has a control character"),
    "empty name": (["", *MODEL], "class name '' is empty"),
    "no letter": (["...", *MODEL], "class name '...' is empty"),
    "long name": (["a" * 200, *MODEL], "has 200 characters"),
    "no model": (["sheep", *MODEL, "--model", "nowhere"], "model nowhere does not exist"),
    "empty folder as model": (["sheep", *MODEL, "--model", "photos"], "folder photos holds photo 0.png"),
    "classifier": (classifier, "is a classifier .ViTForImageClassification.*needs a segmenter"),
    "damaged model": (damaged, "not a readable safetensors file"),
    "another's file": (foreign, "was not written by this pipeline"),
    "unknown class channel": (conv_heads, "has conv classifiers"),
    "unnamed classes": (nameless, "does not say how its class 1 is called"),
    "like is no folder": (["sheep", *MODEL, "--like", "nowhere"], "--like nowhere is no folder"),
    "like without images": (empty_like, "--like empty holds 0 images"),
    "like with three images": (few, "--like few holds 3 images, at least 8"),
    "check without a mask": (no_masks, "photo 1.png does not exist"),
    "check of other classes": (other_classes, "names none of the model's classes"),
    "check without classes.txt": (["sheep", *MODEL, "--check", "photos"], "classes.txt does not exist"),
    "out not ours": (not_ours, "--out out is not empty and was not made by webseg teach"),
    "out is a file": (is_a_file, "--out out is a file"),
    "out with a space": (["sheep", *MODEL, "--out", "my out"], "becomes part of many file names"),
    "like with a brace": (["sheep", *MODEL, "--like", "{photos}"], "has a brace"),
    "forgetting": (["sheep", *MODEL, "--max-forgetting", "-1"], "is no number of IoU points"),
    "wrong setting": (wrong_key, "did you mean `per_class`"),
    "missing config": (["sheep", *MODEL, "--config", "nowhere.yaml"], "nowhere.yaml does not exist"),
    "open web without contact": (["sheep", "--model", "m", "--out", "out"], "give --contact you@example.com"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_request_is_one_line_and_writes_nothing(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, expected = REFUSED[name]
    asked = words if isinstance(words, list) else words(folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert command.main(asked) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    import re

    assert re.search(expected, said), said
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_the_open_web_is_asked_after_a_yes_alone(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["sheep", "--model", "m", "--out", "out", "--like", "photos", "--contact", "me@lab.org"]
    assert command.main(words) == 2
    printed = capsys.readouterr()
    assert "nothing was sent; add --yes" in printed.err
    # Defaults of a small model: 3 old classes times 60, one new class times 200, 240 captions times 4; pages of 20.
    assert "at most 259 search requests to api.openverse.org" in printed.out
    assert f"at most {3 * 60 + 200 + 240 * 4} images" in printed.out
    assert "calls itself: webseg-teach (me@lab.org)" in printed.out
    started: list[Path] = []
    monkeypatch.setattr(command, "_run", lambda experiment, _: started.append(experiment) or 1)
    with pytest.raises(SystemExit) as ended:
        command.main([*words, "--yes"])
    assert ended.value.code == 1 and started == [Path("out/experiment.yaml")]


def test_the_experiment_can_be_edited_and_another_request_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_run", lambda *_: 7)
    for _ in range(2):
        with pytest.raises(SystemExit):
            command.main(["sheep", *MODEL, "--like", "photos"])
        path = folder / "out" / "experiment.yaml"
        path.write_text(path.read_text().replace("max_forgetting: 5.0", "max_forgetting: 9.0"))
    assert "max_forgetting: 9.0" in path.read_text() and "going on with" in capsys.readouterr().out
    assert command.main(["cow", *MODEL, "--like", "photos"]) == 2
    assert "was made for another request (classes ['sheep'], now ['cow'])" in capsys.readouterr().err


def test_what_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(command, "_run", lambda *_: 1)
    with pytest.raises(SystemExit):
        command.main(["hex key", "sheep", *MODEL])
    data = folder / "out" / "data" / "taught"
    assert (data / "classes.txt").read_text() == "background\nnut\nbolt\nwasher\nhex key\nsheep\n"
    assert yaml.safe_load((data / "tasks.yaml").read_text()) == {"taught": [[0, 1, 2, 3], [4, 5]]}
    words = dict(line.split("\t") for line in (data / "vocabulary.tsv").read_text().splitlines())
    assert words["hex key"] == "hex key" and words["sheep"].startswith("sheep, lamb")
    written = yaml.safe_load((folder / "out" / "experiment.yaml").read_text())
    assert written["experiment"]["runs"] == [
        {"method": "web_wilss", "new_images": "web", "filters": "noun", "replay": True}
    ]
    assert written["captioning"]["noun_filter"] == {"replay_rule": "classes"}
    assert read_json(folder / "out" / "teach.json")["knew"] == ["background", *NAMES]
    assert "Without --like" in capsys.readouterr().out
