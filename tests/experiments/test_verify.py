"""Damaged artifacts are found and moved aside, whole ones and the user's files are left alone."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from pipeline.artifacts import NOUNS as SCHEMA
from pipeline.artifacts import ArtifactError, write_json, write_table
from pipeline.config import Config, load_config
from pipeline.experiments.verify import main, verify


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """An experiment with an artifact of every kind."""
    folder, pool = tmp_path / "results" / "mini", tmp_path / "data" / "web" / "mini"
    for made in (folder, pool):
        made.mkdir(parents=True)
    write_table(folder / "nouns.parquet", [{"image_id": str(i), "nouns": ["cat"] * 9} for i in range(99)], SCHEMA)
    write_json(folder / "eval.json", {"all": 1.0})
    save_file({"w": np.zeros(99)}, folder / "model.safetensors")
    np.save(folder / "confusion.npy", np.eye(9))
    with tarfile.open(pool / "shard.tar", "w") as tar:
        tar.add(folder / "confusion.npy", "0.jpg")
    (folder / "notes.txt").write_text("the user's")
    directories = f'{{"experiment": {{"data_dir": "{tmp_path}/data", "results_dir": "{tmp_path}/results"}}}}'
    return load_config([], directories)


def test_whole_artifacts_stay(config: Config, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert verify(config) == []
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["nouns.parquet", "eval.json", "model.safetensors", "confusion.npy", "shard.tar"])
def test_a_cut_file_is_moved_aside(config: Config, tmp_path: Path, name: str) -> None:
    path = next(tmp_path.rglob(name))
    half = path.read_bytes()[: path.stat().st_size // 2]
    if name == "shard.tar":
        half = path.read_bytes()[:700]
    path.write_bytes(half)
    assert verify(config) == [path]
    assert not path.exists() and path.with_name(f"{name}.damaged").read_bytes() == half
    assert verify(config) == []


def test_command(config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directories = f'{{"experiment": {{"data_dir": "{tmp_path}/data", "results_dir": "{tmp_path}/results"}}}}'
    assert main(["--settings", directories]) == 0
    next(tmp_path.rglob("eval.json")).write_text("{")
    with pytest.raises(SystemExit, match="1"):
        main(["--settings", directories])
    assert "eval.json: " in capsys.readouterr().out
    with pytest.raises(ArtifactError, match="nothing to read under"):
        verify(
            load_config([], f'{{"experiment": {{"results_dir": "{tmp_path}/none", "data_dir": "{tmp_path}/none"}}}}')
        )
