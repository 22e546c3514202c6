"""docs/predict.md: its commands and its Python run as they stand."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from pipeline.predict.__main__ import main
from tests.conftest import ROOT
from tests.predict.test_commands import write_photos
from tests.predict.tiny_models import write_step

PAGE = ROOT / "docs" / "predict.md"


def test_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    write_step(tmp_path / "results" / "mini" / "web_wilss" / "seed0" / "step1", "web_wilss")
    write_photos(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```(sh|python)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert [kind for kind, _ in blocks] == ["sh", "sh", "python", "sh"]
    for kind, text in blocks:
        if kind == "python":
            exec(text, {})
            continue
        for line in text.strip().splitlines():
            start, words = line.split(" pipeline.predict ")
            assert start == "python -m" and main(shlex.split(words)) == 0, line
    files = ["labelled/areas.csv", "labelled/index.html", "tiled/coco.json", "tiled/labelme/p0.json"]
    files += ["exported/model.onnx", "exported/model.torchscript.pt", "exported/README.md"]
    assert all((tmp_path / name).is_file() for name in files)
