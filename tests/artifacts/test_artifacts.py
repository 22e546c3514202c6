"""Atomic writing, and schemas checked on read."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.artifacts import (
    CAPTIONS,
    NOUNS,
    ArtifactError,
    Table,
    atomic_dir,
    atomic_path,
    read_json,
    read_provenance,
    read_table,
    write_json,
    write_table,
)


def test_table_round_trip_with_provenance(tmp_path: Path) -> None:
    rows = [{"image_id": "a", "nouns": ["dog", "cat"]}, {"image_id": "b", "nouns": []}]
    path = tmp_path / "x" / "nouns.parquet"
    write_table(path, rows, NOUNS, provenance={"version": 3})
    assert read_table(path, NOUNS) == rows
    assert read_provenance(path) == {"version": 3}
    assert [p.name for p in path.parent.iterdir()] == ["nouns.parquet"]


def test_other_schema_names_the_columns(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_table(path, [{"image_id": "a", "nouns": []}], NOUNS)
    with pytest.raises(ArtifactError, match=r"missing \['caption'.*unexpected \['nouns'\]"):
        read_table(path, CAPTIONS)


def test_same_names_other_types(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_table(
        path,
        [{"image_id": "a", "nouns": "x"}],
        Table(dict, pa.schema([("image_id", pa.string()), ("nouns", pa.string())])),
    )
    with pytest.raises(ArtifactError, match="other types"):
        read_table(path, NOUNS)


@pytest.mark.parametrize("content", [None, b"", b"PAR1 not really PAR1"])
def test_unreadable_table_says_what_to_do(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "t.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ArtifactError, match="rerun its stage|run the stage"):
        read_table(path, NOUNS)


def test_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert read_json(path) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_failure_leaves_the_old_folder(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    with atomic_dir(folder) as temporary:
        (temporary / "one").write_text("1")
    with pytest.raises(RuntimeError), atomic_dir(folder) as temporary:
        (temporary / "two").write_text("2")
        raise RuntimeError
    assert [p.name for p in folder.iterdir()] == ["one"]
    assert list(tmp_path.iterdir()) == [folder]


def test_files_are_readable_by_others(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", 1)
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o666 & ~_umask()


def test_kill_in_the_middle_of_a_write_leaves_no_partial_file(tmp_path: Path) -> None:
    target = tmp_path / "big.bin"
    code = (
        "import sys, time\nfrom pipeline.artifacts import atomic_path\n"
        "with atomic_path(sys.argv[1]) as t:\n"
        "    with open(t, 'wb') as f:\n"
        "        f.write(b'x' * 1000); f.flush(); print('half', flush=True); time.sleep(60)\n"
    )
    root = Path(__file__).parents[2]
    child = subprocess.Popen([sys.executable, "-c", code, str(target)], stdout=subprocess.PIPE, cwd=root)
    assert child.stdout is not None and child.stdout.readline() == b"half\n"
    child.kill()
    child.wait()
    time.sleep(0.05)
    assert not target.exists()


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
