"""Full disks, damaged state and killed writers: one line that names the file, and nothing left or lost."""

import csv
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.artifacts import INGEST, MANIFEST, write_table
from pipeline.config import CrawlIngest
from pipeline.crawl_ingest.pool.card import _escaped, _harmless, write_card
from pipeline.crawl_ingest.pool.leftovers import LOCKS, sole_writer
from tests.crawl_ingest.pool import Pool

FORMULAS = st.sampled_from(["=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20", "\ufe62", "\ufe66", "\u2212"])
BEFORE = st.sampled_from(["", "\n", "\0", "\t", "\r", " ", "\u200b", "\ufeff", "\u202e", "\xa0", "\x1f", "\u3000"])


@given(st.lists(BEFORE, max_size=3).map("".join), FORMULAS, st.text(max_size=20))
def test_no_cell_begins_like_a_formula(before: str, formula: str, rest: str) -> None:
    cell = _harmless(before + formula + rest)
    assert cell.startswith("'") and not any(ord(sign) < 32 for sign in cell)


@given(
    st.text(max_size=30)
    | st.sampled_from(["<script>alert(1)</script>", "![x](http://evil/y.png)", "[a](javascript:b)"])
)
def test_a_stranger_s_text_is_no_markup(text: str) -> None:
    assert not set(_escaped(text)) & set("<>[]()!|`*_\\:/@\n\r\0")


def test_card_of_hostile_licences_and_sources(tmp_path: Path) -> None:
    names = [
        "<script>alert(1)</script>",
        "![x](http://evil.test/y.png)",
        "[a](javascript:alert(1))",
        "a | b\n| c | d |",
        "www.evil.test",
    ]
    blank = {name: "" for name in MANIFEST.names} | {
        "class_ids": [],
        "rank": 0,
        "http_status": 200,
        "width": 1,
        "height": 1,
        "bytes": 1,
    }
    rows = [{**blank, "status": "kept", "source": name, "licence": name, "title": "\n=cmd()"} for name in names]
    rows += [{**blank, "status": "failed", "reason": "unexpected:KeyError", "source": "x" * 5000}]
    write_table(tmp_path / "step1.parquet", rows, MANIFEST)
    write_card([tmp_path / "step1.parquet"], CrawlIngest(), tmp_path / "card.md")
    text = (tmp_path / "card.md").read_text()
    assert not any(sign in text for sign in ("<script", "![", "](", "javascript:", "http://evil", "www.evil"))
    assert all(line.count("|") in (0, 4, 7) for line in text.splitlines()) and "unexpected:KeyError" in text
    with open(tmp_path / "attribution.csv", newline="") as stream:
        assert [row["title"] for row in csv.DictReader(stream)] == ["'=cmd()"] * 5


def run(pool: Pool, *before: str, environment: dict[str, str] | None = None, limit: int = 0) -> tuple[int, str]:
    """Crawl in a process of its own, whose files may have `limit` bytes."""

    def limited() -> None:
        if limit:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    settings = json.dumps({"crawl_ingest": pool.settings.model_dump()})
    words = ["ingest", "--queries", str(pool.folder / "q.parquet"), "--shard", pool.out.stem, "--out", str(pool.out)]
    ended = subprocess.run(
        [sys.executable, "-m", "pipeline.crawl_ingest", *words, "--settings", settings],
        capture_output=True, text=True, preexec_fn=limited, env={**os.environ, **(environment or {})}, timeout=300,
    )  # fmt: skip
    errors = [line for line in ended.stderr.splitlines() if not line.startswith("ingest ")]
    assert len(errors) <= 1 and "Traceback" not in ended.stderr, ended.stderr
    return ended.returncode, "".join(errors)


def test_a_full_disk_is_one_line_and_the_next_run_goes_on(pool: Pool) -> None:
    code, line = run(pool, limit=3000)
    assert code == 2 and "free space" in line and not list(pool.out.parent.glob("*"))
    assert pool.ingest() == [""] * 6


@pytest.mark.parametrize("damage", [b"not a database" * 100, None])
def test_a_damaged_database_is_one_line(pool: Pool, damage: bytes | None, capsys: pytest.CaptureFixture[str]) -> None:
    pool.ingest()
    for beside in ("-wal", "-shm"):
        (pool.folder / "pool" / f"state.sqlite{beside}").unlink(missing_ok=True)
    file = pool.folder / "pool" / "state.sqlite"
    data = bytearray(file.read_bytes())
    file.write_bytes(damage or bytes(data[:4096]) + os.urandom(len(data) - 4096))
    words = ["ingest", "--queries", str(pool.folder / "q.parquet"), "--shard", pool.out.stem, "--out", str(pool.out)]
    assert pool.run(*words) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: the pool's state.sqlite") and "Move state.sqlite" in line


@pytest.mark.parametrize("command", ["plan", "card", "merge", "refresh"])
def test_an_out_that_cannot_be_written_is_one_line(
    pool: Pool, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pool.ingest()
    (pool.folder / "file").write_text("")
    (pool.folder / "names.txt").write_text("cat\n")
    write_table(pool.folder / "m.parquet", [], MANIFEST)
    words = {
        "plan": ["--classes", str(pool.folder / "names.txt")], "card": ["--manifests", str(pool.folder / "m.parquet")],
        "merge": ["--queries", str(pool.folder / "q.parquet"), "--shards", str(pool.out.with_suffix(".parquet"))],
        "refresh": ["--shards", str(pool.out)],
    }  # fmt: skip
    assert pool.run(command, *words[command], "--out", str(pool.folder / "file" / "out")) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {pool.folder / 'file'}") and "permissions" in error


def test_temporary_files_of_a_killed_writer_are_removed_and_no_others(pool: Pool) -> None:
    pool.ingest()
    folder = pool.out.parent
    dead = [
        folder / f".{name}.abcd1234.tmp"
        for name in ("step1-00000.tar", "step1-00000.parquet", "step1-00000.stats.json")
    ]
    others = [
        folder / ".step2-00000.tar.abcd1234.tmp",
        folder / ".mine.tmp",
        folder / "notes.tmp",
        folder / "step1-00000.tar.tmp",
    ]
    for file in dead + others:
        file.write_bytes(b"x" * 10)
    with sole_writer(pool.folder / "pool", pool.out.stem) as alone:
        assert alone
        pool.ingest()
        assert all(file.exists() for file in dead), "another run writes this shard"
    pool.ingest()
    assert not any(file.exists() for file in dead) and all(file.exists() for file in others)
    os.utime(others[0], (time.time() - 7200,) * 2)
    os.utime(others[1], (time.time() - 7200,) * 2)
    pool.run("clean", "--shards", str(pool.out))
    assert [file.exists() for file in others] == [False, True, True, True]
    assert (pool.folder / "pool" / LOCKS).is_dir()


def test_a_flipped_bit_in_a_table_is_found(pool: Pool, capsys: pytest.CaptureFixture[str]) -> None:
    pool.ingest()
    table = pool.out.with_suffix(".parquet")
    data = bytearray(table.read_bytes())
    column = pq.read_metadata(table).row_group(0).column(INGEST.schema.get_field_index("url"))
    data[(column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size - 1] ^= 1
    table.write_bytes(data)
    assert pool.run("refresh", "--shards", str(pool.out), "--out", str(pool.folder / "r.json")) == 2
    assert str(table) in capsys.readouterr().err
