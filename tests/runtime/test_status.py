"""The state of a run as people see it, and the Snakemake plugin that feeds it."""

import io
import logging
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.registry import LoggerPluginRegistry

from pipeline.runtime.status import Board, duration, tail_of
from pipeline.runtime.status_display import LiveBlock, PlainLines, open_display
from snakemake_logger_plugin_webseg import LogHandler


@pytest.fixture
def board(tmp_path: Path) -> Board:
    (tmp_path / ".snakemake").mkdir()
    board = Board(tmp_path / ".snakemake" / "durations.json")
    board.planned({"train_step": 3, "evaluate": "2", "all": 1, "total": 6})
    return board


def test_jobs_are_counted_by_rule(board: Board, tmp_path: Path) -> None:
    assert board.total_jobs == 5
    said = board.begins(7, "train_step", {"run": "mib", "seed": "0", "step": "1"}, [])
    assert said == "train_step mib seed 0 step 1: begins"
    assert board.finished(7).startswith("train_step mib seed 0 step 1: done in 0 s")
    assert board.done["train_step"] == 1 and not board.running
    assert board.finished(99) == "" and board.begins(8, "all", {}, []) == ""


def test_what_a_job_says_is_the_last_line_of_its_log(board: Board, tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_text("first\nx: 12/400 iterations, 4.2/s, 92 s left, loss 0.3 \x1b[31mred\x07\n\n")
    board.begins(1, "train_step", {}, [str(log)])
    assert board.running[1].saying() == "x: 12/400 iterations, 4.2/s, 92 s left, loss 0.3  [31mred"
    log.write_bytes(b"\xff" * 10_000 + b"\nend")
    assert board.running[1].saying() == "end"
    assert tail_of(str(tmp_path / "absent")) == [] and tail_of("") == []


def test_a_failure_names_log_and_what_to_do(board: Board, tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_text("".join(f"line {i}\n" for i in range(50)) + "error: batch is too large\n")
    board.begins(3, "train_step", {"run": "mib"}, [str(log)])
    lines = board.failed(3, "train_step", [str(log)])
    assert lines[0] == "FAILED: train_step mib" and len(lines) == 15
    assert "    error: batch is too large" in lines and f"    log: {log}" in lines
    assert "same command" in lines[-1] and not board.running


def test_settings_are_not_dumped_with_an_error(board: Board) -> None:
    message = "Error in rule x:\n    shell: python -m pipeline.train --settings '{\"a\":1}' --out y"
    assert "--settings ... --out y" in board.error(message) and board.error(message) == ""


def test_time_left_comes_from_earlier_runs(board: Board, tmp_path: Path) -> None:
    assert board.left() is None, "nothing is known yet"
    board.earlier = {"train_step": 100.0, "evaluate": 10.0}
    assert board.left() == 320.0
    board.begins(1, "train_step", {}, [])
    board.running[1].started -= 40
    assert board.left() == pytest.approx(280.0, abs=1)
    assert board.left(cores=2) == pytest.approx(140.0, abs=1)
    board.running[1].started -= 20
    board.finished(1)
    assert board.left() == pytest.approx(2 * 60 + 20, abs=1), "this run's own durations count first"
    board.remember()
    again = Board(tmp_path / ".snakemake" / "durations.json")
    assert again.earlier["train_step"] == pytest.approx(60, abs=1) and again.earlier["evaluate"] == 10.0


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": "x"}', "null"])
def test_a_damaged_record_of_durations_is_ignored(tmp_path: Path, text: str) -> None:
    (tmp_path / "d.json").write_text(text)
    assert Board(tmp_path / "d.json").earlier == {}


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_durations_are_read_easily(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_plain_lines_repeat_what_a_long_job_says(board: Board, tmp_path: Path) -> None:
    log, stream = tmp_path / "a.log", io.StringIO()
    log.write_text("a: 3/9 images, 1/s\n")
    assert isinstance(open_display(board, stream), PlainLines)
    display = PlainLines(board, stream, every=0.05)
    board.begins(1, "caption", {"shard": "base-00000"}, [str(log)])
    limit = time.monotonic() + 10
    while "3/9 images" not in stream.getvalue() and time.monotonic() < limit:
        time.sleep(0.02)
    display.close()
    assert "caption base-00000: a: 3/9 images, 1/s" in stream.getvalue()
    assert "0/5]" in stream.getvalue()


def test_the_live_block_shows_bars_and_the_running_job(board: Board, tmp_path: Path) -> None:
    log, stream = tmp_path / "a.log", io.StringIO()
    log.write_text("results/mini/ft: 12/400 iterations, loss 0.25\n")
    console = Console(file=stream, force_terminal=True, width=120)
    display = LiveBlock(board, console)
    board.begins(1, "train_step", {"run": "ft"}, [str(log)])
    board.progress(1, 5)
    display.line("FAILED: other")
    display.close()
    shown = stream.getvalue()
    for words in ("train_step", "0/3", "12/400 iterations, loss 0.25", "1 of 5 jobs done", "FAILED: other"):
        assert words in shown


def event(kind: LogEvent | None, level: int = logging.INFO, message: str = "", **facts: object) -> logging.LogRecord:
    record = logging.LogRecord("snakemake", level, "", 0, message, None, None)
    vars(record).update(facts, **({"event": kind} if kind else {}))
    return record


def handler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **settings: bool) -> LogHandler:
    monkeypatch.chdir(tmp_path)
    common = {"dryrun": False, "printshellcmds": False, "stdout": False, **settings}
    return LogHandler(SimpleNamespace(**common), None)  # type: ignore[arg-type]


def test_snakemake_finds_the_plugin() -> None:
    registry = LoggerPluginRegistry()
    registry.collect_plugins()
    assert registry.is_installed("webseg")


def test_events_become_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = handler(tmp_path, monkeypatch)
    plugin.handle(event(LogEvent.RUN_INFO, stats={"train_step": 1, "total": 1}))
    plugin.handle(event(None, message="Select jobs to execute..."))
    plugin.handle(event(LogEvent.JOB_INFO, jobid=1, rule_name="train_step", wildcards={"run": "ft"}, log=["x.log"]))
    plugin.handle(event(LogEvent.JOB_ERROR, logging.ERROR, jobid=1, rule_name="train_step", log=["x.log"]))
    plugin.handle(event(LogEvent.ERROR, logging.ERROR, "RuleException: --settings '{}'"))
    plugin.close()
    said = capsys.readouterr().err.splitlines()
    assert [line.split("] ", 1)[1] for line in said] == [
        "train_step ft: begins", "FAILED: train_step ft", "    log: x.log",
        "    mend the cause and run the same command: everything that is done stays",
    ]  # fmt: skip


def test_an_error_before_any_job_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = handler(tmp_path, monkeypatch)
    plugin.handle(event(LogEvent.ERROR, logging.ERROR, "WorkflowError: config: unknown key `trian`"))
    plugin.close()
    assert "unknown key `trian`" in capsys.readouterr().err
