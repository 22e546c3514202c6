"""The tables of docs/scale.md are what bench/scale.py calculates, and a rate changes what it must."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def calculated(*options: str) -> list[str]:
    command = [sys.executable, str(ROOT / "bench" / "scale.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_the_documents_tables_are_calculated() -> None:
    lines = {line.strip() for line in (ROOT / "docs" / "scale.md").read_text().splitlines()}
    assert not [line for line in calculated() if line.strip() and line.strip() not in lines]


def test_a_faster_captioner_moves_the_bottleneck_to_the_line() -> None:
    rates = ["--caption", "1000", "--searches", "1000", "--crawls", "64"]
    many = [line for line in calculated(*rates) if line.startswith("slowest with 8")]
    assert many == ["slowest with 8 GPUs: download, then caption"]


def test_one_chain_cannot_use_more_gpus_than_its_batch_has_images() -> None:
    lines = calculated("--methods", "1", "--seeds", "1", "--recipes", "1")
    assert "with 24 GPU(s) per step" in lines[-1] and "with 8 GPU(s) per step" in lines[-2]


def test_the_arithmetic_uses_the_measured_costs() -> None:
    text = (ROOT / "docs" / "scale.md").read_text()
    rows = dict(re.findall(r"^\| (\w+)[^|]*\| (\d\.\d\d) \|$", text, re.MULTILINE))
    both = re.findall(r"^\| decoded [^|]*\| (\d\.\d\d) \|$", text, re.MULTILINE)
    used = re.search(r"^DECODE, NOUNS, SPECTRUM, CROP = (.*)$", (ROOT / "bench" / "scale.py").read_text(), re.MULTILINE)
    assert used
    milliseconds = [1000 * float(value) for value in used[1].split(", ")]
    measured = [float(rows["checked"]), float(rows["nouns"]), float(both[0]) + float(rows["log"]), float(both[1])]
    assert milliseconds == pytest.approx(measured)
